//! TLS in front of a server without TLS: nginx with a certificate of an authority made for the
//! test.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::peers::nginx;
use super::ports;
use super::tool::{Tool, succeed};

/// Listens on loopback until dropped; forwards everything, websockets included.
#[derive(Debug)]
pub(crate) struct TlsFront {
    // The process is killed before its directory is removed.
    _nginx: Tool,
    port: u16,
    home: tempfile::TempDir,
}

impl TlsFront {
    /// Starts in front of an HTTP server, with a certificate for 127.0.0.1 only.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let certificate = |name: &str, more: &[&str]| {
            let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.crt")));
            let mut args =
                vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
            args.extend(["-days", "2", "-subj", "/CN=of the tests", "-keyout", &key, "-out", &certificate]);
            args.extend(more);
            succeed("openssl", &args, None);
        };
        certificate("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let (authority, key) = (path("ca.crt"), path("ca.key"));
        let signed = ["-CA", &authority, "-CAkey", &key, "-addext", "basicConstraints=CA:FALSE"];
        certificate("server", &[&signed[..], &["-addext", "subjectAltName=IP:127.0.0.1"]].concat());
        let ([port], root) = (ports::free(), home.path().display());
        let configuration = format!(
            "daemon off; master_process off; pid {root}/pid; error_log stderr warn;
            events {{}}
            http {{
                access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
                server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {root}/server.crt; ssl_certificate_key {root}/server.key;
                    location / {{
                        proxy_pass http://{server}; proxy_http_version 1.1; proxy_buffering off;
                        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                    }}
                }}
            }}"
        );
        Self { _nginx: nginx(home.path(), &configuration, port), port, home }
    }

    /// The authority's certificate, for `SSL_CERT_FILE` of programs that should trust it.
    pub(crate) fn authority(&self) -> PathBuf {
        self.home.path().join("ca.crt")
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}
