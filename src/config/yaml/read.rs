//! Reads values from the tree, as a serde deserializer.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Entry, Finding, Kind, Node, Place, scalar};

/// Reads one node.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    node: &'a Node,
    key: String,
    unknown: &'a RefCell<Vec<Finding>>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(root: &'a Node, unknown: &'a RefCell<Vec<Finding>>) -> Self {
        Self { node: root, key: String::new(), unknown }
    }

    fn child(&self, node: &'a Node, part: &str) -> Self {
        let key = if self.key.is_empty() { part.to_owned() } else { format!("{}.{part}", self.key) };
        Self { node, key, unknown: self.unknown }
    }

    /// Adds this node's place to an error that has none.
    fn placed<T>(&self, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| match problem.place {
            Some(_) => problem,
            None => Problem { place: Some(self.node.place), key: self.key.clone(), ..problem },
        })
    }

    /// Error for a value of a type that holds no secrets, so it may be quoted.
    fn mismatch<T>(&self, expected: &str) -> Result<T, Problem> {
        let found = match &self.node.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Scalar { text, is_plain: true } => format!("`{text}`"),
            Kind::Scalar { text, is_plain: false } => format!("the text \"{text}\""),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a section".to_owned(),
        };
        self.placed(Err(Problem::new(format!("{found} is not {expected}"))))
    }

    /// Error for a text in place of a list or a section. It is not quoted: the text may be an
    /// address with a password.
    fn not_a<T>(&self, expected: &str) -> Result<T, Problem> {
        self.placed(Err(Problem::new(format!("expected {expected}"))))
    }

    fn plain(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, is_plain: true } => Some(text),
            _ => None,
        }
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let Some(value) = self.plain().and_then(scalar::integer) else {
            return self.mismatch("a whole number");
        };
        // Serde's visitors check the range.
        let read = match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => visitor.visit_i64(value),
            (_, Ok(value)) => visitor.visit_u64(value),
            _ => return self.mismatch("a whole number of 64 bits"),
        };
        self.placed(read)
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Null => self.placed(visitor.visit_unit()),
            Kind::Scalar { text, is_plain: true } => {
                if let Some(value) = scalar::boolean(text) {
                    self.placed(visitor.visit_bool(value))
                } else if scalar::integer(text).is_some() {
                    self.integer(visitor)
                } else if let Some(value) = scalar::float(text) {
                    self.placed(visitor.visit_f64(value))
                } else {
                    self.placed(visitor.visit_str(text))
                }
            }
            Kind::Scalar { text, .. } => self.placed(visitor.visit_str(text)),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.plain().and_then(scalar::boolean) {
            Some(value) => self.placed(visitor.visit_bool(value)),
            None => self.mismatch("true or false"),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.integer(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.plain().and_then(scalar::float) {
            Some(value) => self.placed(visitor.visit_f64(value)),
            None => self.mismatch("a number"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.kind {
            Kind::Null => self.placed(visitor.visit_str("")),
            // A number is a valid text: `password: 12345`.
            Kind::Scalar { text, .. } => self.placed(visitor.visit_str(text)),
            Kind::List(_) | Kind::Map(_) => self.mismatch("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items = match &self.node.kind {
            Kind::Null => &[],
            Kind::List(items) => items.as_slice(),
            Kind::Scalar { .. } | Kind::Map(_) => return self.not_a("a list: [a, b]"),
        };
        self.placed(visitor.visit_seq(Items { of: &self, items: items.iter().enumerate() }))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let entries: Vec<&Entry> = match &self.node.kind {
            Kind::Null => Vec::new(),
            Kind::Map(entries) => entries.iter().collect(),
            Kind::Scalar { .. } | Kind::List(_) => return self.not_a("a section: keys with values"),
        };
        self.placed(visitor.visit_map(Entries { of: &self, entries: entries.into_iter(), value: None }))
    }

    /// Unknown keys are collected and skipped; keys without a value are skipped.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let mut known = Vec::new();
        match &self.node.kind {
            Kind::Null => {}
            Kind::Map(entries) => {
                for entry in entries {
                    if !fields.contains(&entry.key.as_str()) {
                        let key = self.child(&entry.value, &entry.key).key;
                        self.unknown.borrow_mut().push(Finding::new(Some(entry.place), key, "unknown key"));
                    } else if !matches!(entry.value.kind, Kind::Null) {
                        known.push(entry);
                    }
                }
            }
            Kind::Scalar { .. } | Kind::List(_) => return self.not_a("a section: keys with values"),
        }
        self.placed(visitor.visit_map(Entries { of: &self, entries: known.into_iter(), value: None }))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let Kind::Scalar { text, .. } = &self.node.kind else { return self.mismatch("a word") };
        if !variants.contains(&text.as_str()) {
            return self.mismatch(&format!("one of {}", variants.join(", ")));
        }
        self.placed(visitor.visit_enum(Word(text)))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a, 'r, I> {
    of: &'r Reader<'a>,
    items: I,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Node)>> SeqAccess<'de> for Items<'a, '_, I> {
    type Error = Problem;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some((at, node)) = self.items.next() else { return Ok(None) };
        let key = format!("{}[{at}]", self.of.key);
        let item = Reader { node, key, unknown: self.of.unknown };
        item.placed(seed.deserialize(item.clone())).map(Some)
    }
}

struct Entries<'a, 'r, I> {
    of: &'r Reader<'a>,
    entries: I,
    value: Option<&'a Entry>,
}

impl<'de, 'a, I: Iterator<Item = &'a Entry>> MapAccess<'de> for Entries<'a, '_, I> {
    type Error = Problem;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        seed.deserialize(entry.key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some(entry) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        let child = self.of.child(&entry.value, &entry.key);
        child.placed(seed.deserialize(child.clone()))
    }
}

/// One word of an enum.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = Problem;
    type Variant = Unit;

    fn variant_seed<V: de::DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Unit), Problem> {
        Ok((seed.deserialize(self.0.into_deserializer())?, Unit))
    }
}

/// Enum variants without content.
struct Unit;

impl<'de> de::VariantAccess<'de> for Unit {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Problem> {
        Err(de::Error::custom("expected a word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Problem> {
        Err(de::Error::custom("expected a word"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Problem> {
        Err(de::Error::custom("expected a word"))
    }
}

/// An invalid value, with its place once that is known.
#[derive(Debug)]
pub(super) struct Problem {
    place: Option<Place>,
    key: String,
    text: String,
}

impl Problem {
    const fn new(text: String) -> Self {
        Self { place: None, key: String::new(), text }
    }

    pub(super) fn finding(self) -> Finding {
        Finding::new(self.place, self.key, self.text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_value(found, expected)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Str(text) => format!("`{text}`"),
            de::Unexpected::Signed(number) => format!("`{number}`"),
            de::Unexpected::Unsigned(number) => format!("`{number}`"),
            de::Unexpected::Float(number) => format!("`{number}`"),
            de::Unexpected::Bool(value) => format!("`{value}`"),
            de::Unexpected::Map => "a section".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            _ => "this".to_owned(),
        };
        Self::new(format!("{found} is not {}", expected_text(expected)))
    }
}

/// Serde names numbers by their Rust types.
fn expected_text(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" => "a whole number, 0 or more".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        text => text.to_owned(),
    }
}
