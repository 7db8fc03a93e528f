//! How a server proves who it is, and we to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::TlsOptions;
use crate::psrpc::bus::BusError;

/// The TLS configuration for the options.
///
/// # Errors
///
/// [`BusError::Unusable`] for files that are unreadable or have the wrong content.
pub(super) fn configuration(options: &TlsOptions) -> Result<ClientConfig, BusError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BusError::Unusable(format!("tls: {error}")))?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(options.ca_cert.as_deref())?)
    };
    with_client(builder, options)
}

fn with_client(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    options: &TlsOptions,
) -> Result<ClientConfig, BusError> {
    let Some((certificate, key)) = &options.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let unusable = |error: &dyn std::fmt::Display| BusError::Unusable(format!("{}: {error}", key.display()));
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(&error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))
}

fn roots(ca_cert: Option<&Path>) -> Result<RootCertStore, BusError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_cert else {
        // A certificate of the system that can't be read leaves the others.
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match added {
            0 => Err(BusError::Unusable("this system has no certificate authorities: install ca-certificates, or name one in redis.tls.ca_cert_file".into())),
            _ => Ok(roots),
        };
    };
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| BusError::Unusable(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BusError> {
    let unusable = |why: &dyn std::fmt::Display| BusError::Unusable(format!("{}: {why}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|error| unusable(&error))?;
    if found.is_empty() {
        return Err(unusable(&"no certificate in it (PEM is expected)"));
    }
    Ok(found)
}

/// A file's content, or its name in the error.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BusError> {
    fs::read(path).map_err(|error| BusError::Unusable(format!("{}: {error}", path.display())))
}

/// Takes every certificate, as `insecure` asks for. The connection is still encrypted, and signed
/// by whoever answers.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
