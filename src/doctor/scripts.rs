//! Checks which scripts the installed fonts cover. Pure.

/// A script, and the Debian package with fonts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) name: &'static str,
    /// A character that every font of the script has.
    sample: char,
    pub(super) package: &'static str,
}

const CORE: &str = "fonts-noto-core";
const CJK: &str = "fonts-noto-cjk";

const SCRIPTS: &[Script] = &[
    Script { name: "Latin", sample: 'a', package: CORE },
    Script { name: "Greek", sample: 'λ', package: CORE },
    Script { name: "Cyrillic", sample: 'ж', package: CORE },
    Script { name: "Chinese", sample: '会', package: CJK },
    Script { name: "Japanese", sample: 'カ', package: CJK },
    Script { name: "Korean", sample: '회', package: CJK },
    Script { name: "Arabic", sample: 'ت', package: CORE },
    Script { name: "Armenian", sample: 'հ', package: CORE },
    Script { name: "Bengali", sample: 'ব', package: CORE },
    Script { name: "Ethiopic", sample: 'ስ', package: CORE },
    Script { name: "Georgian", sample: 'შ', package: CORE },
    Script { name: "Hebrew", sample: 'ה', package: CORE },
    Script { name: "Devanagari (Hindi, Marathi, Nepali)", sample: 'ब', package: CORE },
    Script { name: "Gujarati", sample: 'ગ', package: CORE },
    Script { name: "Gurmukhi (Punjabi)", sample: 'ਗ', package: CORE },
    Script { name: "Khmer", sample: 'ក', package: CORE },
    Script { name: "Tamil", sample: 'க', package: CORE },
    Script { name: "Telugu", sample: 'క', package: CORE },
    Script { name: "Thai", sample: 'บ', package: CORE },
    Script { name: "symbols", sample: '⏺', package: CORE },
    Script { name: "emoji", sample: '😀', package: "fonts-noto-color-emoji" },
];

/// Returns the scripts that no font covers. `charsets` is the output of `fc-list` with the format
/// `%{charset}`: ranges of characters in hexadecimal.
pub(super) fn missing(charsets: &str) -> Vec<Script> {
    let mut missing = SCRIPTS.to_vec();
    for (first, last) in charsets.split_whitespace().filter_map(range) {
        missing.retain(|script| !(first..=last).contains(&u32::from(script.sample)));
    }
    missing
}

/// Parses `20-7e`, or `a0` alone.
fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((u32::from_str_radix(first, 16).ok()?, u32::from_str_radix(last, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_there_when_a_font_has_it() {
        let names =
            |charsets: &str| missing(charsets).into_iter().map(|script| script.name).collect::<Vec<_>>();
        assert_eq!(names("").len(), SCRIPTS.len());
        // All assigned characters except East Asian ones.
        assert_eq!(names("20-2fff\n20 f900-faff 1f300-1f6ff"), ["Chinese", "Japanese", "Korean"]);
        assert_eq!(names("20-2fff 4e00-9fff 1f600"), ["Japanese", "Korean"]);
        assert_eq!(names("20-10ffff"), [""; 0]);
        assert_eq!(names("rubbish 20- -7e 7e-20 ffffffffff").len(), SCRIPTS.len());
        assert!(missing("20-2fff 1f600").iter().all(|script| script.package == "fonts-noto-cjk"));
    }
}
