//! Texts of servers and libraries, without the credentials that may be in them.
//!
//! A server may repeat in an error what it was sent, a library the address it asked for, and a
//! signed address is a credential. So every text from outside goes through here before it becomes
//! part of an error.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::plan::storage::{Backend, StorageTarget};
use crate::secret::Secret;

/// Longer answers are cut: some servers send whole pages.
const LONGEST: usize = 500;

/// Takes a target's secrets out of texts.
#[derive(Clone, Default)]
pub(super) struct CredentialRedactor {
    /// Longest first, so that none is found inside another.
    secrets: Vec<String>,
}

impl std::fmt::Debug for CredentialRedactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrub")
    }
}

impl CredentialRedactor {
    pub(super) fn new(target: &StorageTarget) -> Self {
        let mut secrets: Vec<String> = target
            .secrets()
            .into_iter()
            .map(Secret::expose)
            .filter(|value| !value.is_empty())
            .cloned()
            .collect();
        match &target.backend {
            Backend::Gcs(gcs) => secrets.extend(values_of(gcs.credentials_json.expose())),
            Backend::Local | Backend::S3(_) | Backend::Azure(_) | Backend::AliOss(_) => {}
        }
        let proxy = match &target.backend {
            Backend::S3(s3) => s3.proxy_config.as_ref(),
            Backend::Gcs(gcs) => gcs.proxy_config.as_ref(),
            Backend::Local | Backend::Azure(_) | Backend::AliOss(_) => None,
        };
        if let Some(url) = proxy.and_then(|proxy| url::Url::parse(proxy.url.expose()).ok()) {
            secrets.extend(url.password().map(str::to_owned));
        }
        let encoded: Vec<_> =
            secrets.iter().map(|secret| utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()).collect();
        secrets.extend(encoded);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// `text` on one line, without secrets, and without what stands behind the `?` of an address.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), "***");
        }
        let clean = without_queries(&clean);
        let mut line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.len() > LONGEST {
            line.truncate(line.floor_char_boundary(LONGEST));
            line.push('…');
        }
        line
    }
}

/// The values of a key file that are secret by themselves.
fn values_of(json: &str) -> Vec<String> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(json) else { return Vec::new() };
    let secret = ["private_key", "private_key_id", "client_secret", "refresh_token"];
    let mut values = Vec::new();
    for value in
        secret.iter().filter_map(|name| fields.get(*name)?.as_str()).filter(|value| !value.is_empty())
    {
        values.push(value.to_owned());
        // A key is of many lines, and may come back as one of them, or escaped as it stood in the
        // file.
        values.extend(
            value.lines().filter(|line| line.len() > 16 && !line.starts_with('-')).map(str::to_owned),
        );
        values.push(value.replace('\n', "\\n"));
    }
    values
}

/// Signatures and tokens stand in queries; what an address is without its query is what a person
/// needs.
fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let end = rest[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
            .map_or(rest.len(), |length| start + length);
        let (address, after) = rest.split_at(end);
        match address[start..].find('?') {
            Some(query) => {
                clean.push_str(&address[..start + query]);
                clean.push_str("?***");
            }
            None => clean.push_str(address),
        }
        rest = after;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::storage::{GcsConfig, ProxyConfig, S3Config};

    #[test]
    fn takes_out_every_secret_and_every_query() {
        let secret = |value: &str| Secret::new(value.to_owned());
        let target = StorageTarget {
            backend: Backend::S3(S3Config {
                access_key: secret("AKIAPLANTED"),
                secret: secret("pl/ant+ed"),
                proxy_config: Some(ProxyConfig {
                    url: secret("http://me:inside@proxy:3128"),
                    password: secret("outside"),
                    ..ProxyConfig::default()
                }),
                ..S3Config::default()
            }),
            ..StorageTarget::local()
        };
        let scrub = CredentialRedactor::new(&target);
        let text = "key AKIAPLANTED, pl/ant+ed, pl%2Fant%2Bed,\n inside outside \
                    (https://b.example.com/a?X-Amz-Signature=abc&x=y) \"http://h/p?sig=1\"";
        assert_eq!(
            scrub.clean(text),
            "key ***, ***, ***, *** *** (https://b.example.com/a?*** \"http://h/p?***\""
        );
    }

    #[test]
    fn a_key_file_is_secret_in_all_its_parts() {
        let json = r#"{"type":"service_account","private_key":"-----BEGIN\nabcdefghijklmnopqrstuvwxyz\n-----END\n"}"#;
        let gcs = GcsConfig { credentials_json: Secret::new(json.to_owned()), ..GcsConfig::default() };
        let scrub =
            CredentialRedactor::new(&StorageTarget { backend: Backend::Gcs(gcs), ..StorageTarget::local() });
        assert_eq!(
            scrub.clean("bad key abcdefghijklmnopqrstuvwxyz service_account"),
            "bad key *** service_account"
        );
    }

    #[test]
    fn long_answers_are_cut() {
        let cut = CredentialRedactor::default().clean(&"ä".repeat(1000));
        assert!(cut.len() < 510 && cut.ends_with('…'), "{}", cut.len());
    }
}
