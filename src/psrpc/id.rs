//! Identifiers: a prefix and twelve characters that nobody else has (docs/reference/psrpc.md).

use rand::Rng;
use rand::distr::Alphanumeric;

const LENGTH: usize = 12;

/// `CLI_…`, one for each client of a service.
pub(super) fn client() -> String {
    with_prefix("CLI_")
}

/// `SRV_…`, one for each server of a service.
pub(super) fn server() -> String {
    with_prefix("SRV_")
}

/// `REQ_…`, one for each attempt at a call.
pub(super) fn request() -> String {
    with_prefix("REQ_")
}

fn with_prefix(prefix: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(LENGTH).map(char::from);
    prefix.chars().chain(random).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_the_reference_and_differ() {
        let (one, other) = (request(), request());
        assert_ne!(one, other);
        let rest = one.strip_prefix("REQ_").unwrap();
        assert!(rest.len() == 12 && rest.chars().all(|c| c.is_ascii_alphanumeric()), "{one}");
        assert!(client().starts_with("CLI_") && server().starts_with("SRV_"));
    }
}
