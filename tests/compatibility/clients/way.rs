//! The ways in which a client may have to come to a gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use support::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    /// Only users are answered, and the client is one.
    Users,
    /// Only users are answered, and the client has the wrong password.
    Stranger,
    /// Over TLS, and only users are answered.
    Encrypted,
    /// Over TLS, and only those who have a certificate are answered.
    Certificates,
}

/// bob, whose password is "open sesame", at the least cost that there is.
const USERS: &str = "basic_auth_users:\n  \
    bob: $2b$04$kvO0RmOwhZH.otVNe83sO.sA0bb9E5W7Wae2JbdffycYhqDR4E8L2\n";
const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";
const VERIFIED: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";

pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compatibility/differential/tls").join(name)
}

impl Way {
    /// A folder in which `web.yml` asks for this way.
    pub(crate) fn web_config(self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["server.pem", "server.key", "ca.pem"] {
            std::fs::copy(tls_file(name), folder.path().join(name)).unwrap();
        }
        let text = match self {
            Self::Plain => String::new(),
            Self::Users | Self::Stranger => USERS.to_owned(),
            Self::Encrypted => [TLS, USERS].concat(),
            Self::Certificates => [TLS, VERIFIED].concat(),
        };
        std::fs::write(folder.path().join("web.yml"), text).unwrap();
        folder
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Encrypted | Self::Certificates)
    }

    pub(crate) fn url(self, address: SocketAddr) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Who the client says that it is.
    pub(crate) fn user(self) -> [&'static str; 2] {
        match self {
            Self::Plain | Self::Certificates => ["", ""],
            Self::Users | Self::Encrypted => ["bob", "open sesame"],
            Self::Stranger => ["bob", "open"],
        }
    }

    /// The exposition that a gateway shows to those who may see it.
    pub(crate) fn scrape(self, address: SocketAddr, accept: &str) -> Vec<u8> {
        self.get(address, "/metrics", accept)
    }

    pub(crate) fn get(self, address: SocketAddr, path: &str, accept: &str) -> Vec<u8> {
        let read = |name: &str| std::fs::read(tls_file(name)).unwrap();
        let own = read("client.pem");
        let certificate = Certificate::from_pem(&own).unwrap();
        let key = PrivateKey::from_pem(&own).unwrap();
        let authority = Certificate::from_pem(&read("ca.pem")).unwrap();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(Some(ClientCert::new_with_certs(&[certificate], key)));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .build();
        let request = Agent::from(config)
            .get(format!("{}{path}", self.url(address)))
            .header("Accept", accept)
            .header("Authorization", "Basic Ym9iOm9wZW4gc2VzYW1l");
        request.call().unwrap().body_mut().read_to_vec().unwrap()
    }
}
