//! The file of `web.config.file` as it is written: the format of Prometheus's exporter-toolkit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) tls_server_config: Option<Tls>,
    pub(super) http_server_config: Http,
    pub(super) basic_auth_users: Option<BTreeMap<String, String>>,
    pub(super) rate_limit: RateLimit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_allowed_sans: Vec<String>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Vec<String>,
    pub(super) curve_preferences: Vec<String>,
    /// Of no effect, as in Go for long.
    #[serde(rename = "prefer_server_cipher_suites")]
    pub(super) _prefer_server_cipher_suites: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) http2: bool,
    pub(super) headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateLimit {
    /// Time for one more request; zero is no limit.
    pub(super) interval: Option<String>,
    pub(super) burst: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self { http2: true, headers: BTreeMap::new() }
    }
}

impl File {
    /// Reads a file. A path in it is relative to its folder.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        // Nothing at all is no problem, but no mapping either.
        let blank = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if text.lines().all(blank) {
            return Ok(Self::default());
        }
        let mut file: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if let Some(tls) = &mut file.tls_server_config {
            for path in [&mut tls.cert_file, &mut tls.key_file, &mut tls.client_ca_file] {
                *path = path.take().filter(|path| !path.as_os_str().is_empty());
                if let Some(path) = path {
                    *path = folder.join(&*path);
                }
            }
        }
        // A section without content is as none.
        file.tls_server_config = file.tls_server_config.filter(Tls::is_set);
        Ok(file)
    }

    /// The files that it names.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let tls = self.tls_server_config.iter();
        tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]).flatten()
    }
}

impl Tls {
    fn is_set(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.client_auth_type, &self.client_ca];
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        texts.into_iter().flatten().any(|text| !text.is_empty())
            || files.into_iter().any(Option::is_some)
            // Useless alone, and whoever writes it means to let in fewer.
            || !self.client_allowed_sans.is_empty()
    }
}
