//! TLS for outbound connections: versions 1.2 and 1.3, with the certificates that this machine
//! trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Returns the client configuration.
///
/// # Panics
/// Never: the provider has both versions.
#[must_use]
pub fn client() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(ignored, "unreadable system certificates ignored");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
