//! Names of channels (docs/reference/psrpc.md).
//!
//! Parts are joined by `|`; an empty part is left out with its bar. Characters except ASCII
//! letters, digits and `_` are escaped as code points, so that no part contains a bar.

use std::fmt::Write;

/// Requests of a method, from clients.
#[must_use]
pub fn request(service: &str, method: &str, topic: &str) -> String {
    join(&[service, method, topic], "REQ")
}

/// Claim decisions, from clients.
#[must_use]
pub fn decision(service: &str, method: &str, topic: &str) -> String {
    join(&[service, method, topic], "RCLAIM")
}

/// Responses to a client, from servers.
#[must_use]
pub fn response(service: &str, client_id: &str) -> String {
    join(&[service, client_id], "RES")
}

/// Claims for a client, from servers.
#[must_use]
pub fn claim(service: &str, client_id: &str) -> String {
    join(&[service, client_id], "CLAIM")
}

fn join(parts: &[&str], kind: &str) -> String {
    let mut name = String::with_capacity(64);
    for part in parts.iter().filter(|part| !part.is_empty()) {
        escape(part, &mut name);
        name.push('|');
    }
    name.push_str(kind);
    name
}

fn escape(part: &str, into: &mut String) {
    for c in part.chars() {
        match (c, u32::from(c)) {
            ('0'..='9' | 'A'..='Z' | 'a'..='z' | '_', _) => into.push(c),
            // Writing to a String cannot fail.
            (_, code @ ..0x1_0000) => drop(write!(into, "u+{code:04x}")),
            (_, code) => drop(write!(into, "U+{code:08x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        let client = "CLI_a1B2c3D4e5F6";
        assert_eq!(request("EgressInternal", "StartEgress", ""), "EgressInternal|StartEgress|REQ");
        assert_eq!(request("EgressInternal", "StartEgress", "us1"), "EgressInternal|StartEgress|us1|REQ");
        assert_eq!(decision("EgressInternal", "StartEgress", ""), "EgressInternal|StartEgress|RCLAIM");
        assert_eq!(
            decision("EgressHandler", "StopEgress", "EG_abc123"),
            "EgressHandler|StopEgress|EG_abc123|RCLAIM"
        );
        assert_eq!(claim("EgressInternal", client), "EgressInternal|CLI_a1B2c3D4e5F6|CLAIM");
        assert_eq!(response("IOInfo", client), "IOInfo|CLI_a1B2c3D4e5F6|RES");
    }

    #[test]
    fn strange_characters_become_code_points() {
        assert_eq!(request("S", "M", "us-west"), "S|M|usu+002dwest|REQ");
        assert_eq!(request("S", "M", "my.cluster"), "S|M|myu+002ecluster|REQ");
        assert_eq!(request("S", "M", "a|b é"), "S|M|au+007cbu+0020u+00e9|REQ");
        assert_eq!(request("S", "M", "🎬"), "S|M|U+0001f3ac|REQ");
    }

    proptest! {
        #[test]
        fn a_topic_never_changes_the_number_of_parts(topic in "\\PC{1,20}") {
            let name = request("S", "M", &topic);
            prop_assert_eq!(name.matches('|').count(), 3);
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_|+".contains(c)));
        }
    }
}
