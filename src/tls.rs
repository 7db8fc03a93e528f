//! How connections to somebody else's servers are encrypted: TLS 1.2 and 1.3, by the certificates that this machine trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// A client's side of TLS.
///
/// # Panics
/// Never: the one provider there is has both versions.
#[must_use]
pub fn client() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if ignored > 0 {
        tracing::debug!(ignored, "certificates of this machine that make no sense");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
