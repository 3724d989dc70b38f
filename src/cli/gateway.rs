//! How commands reach gateways: the arguments that all of them have for that, and the environment.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

use crate::client::Target;
use crate::config::{TOKEN_VARIABLE, variable};

/// The heading of these arguments in `--help`.
pub(super) const HEADING: &str = "Gateway";

/// The arguments by which a gateway at a URL is reached.
pub(super) fn args() -> [Arg; 2] {
    let file = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help_heading(HEADING)
    };
    [
        file("ca-file")
            .env("TIDEGATE_CA_FILE")
            .help("PEM file of the authorities to trust for https [default: those of the system]"),
        file("token-file").help(format!(
            "File with the token to show to the gateway [env: {TOKEN_VARIABLE} has the token itself]"
        )),
    ]
}

/// A URL of HTTP, where the scheme may be left out.
pub(super) fn url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(text.to_owned()),
        None if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("expected a URL such as http://localhost:9091".into()),
    }
}

/// The gateways at some URLs, as the arguments say that they are reached. A token is for the one that
/// has no user in its URL.
pub(super) fn targets<const N: usize>(
    urls: [&str; N],
    found: &mut ArgMatches,
) -> Result<[Target; N], String> {
    let ca_file = found.remove_one::<PathBuf>("ca-file");
    let targets = urls.map(|url| Target::new(url).with_ca_file(ca_file.clone()));
    let Some((token, place)) = token(found.remove_one("token-file"))? else { return Ok(targets) };
    match targets.iter().filter(|target| !target.has_credentials()).count() {
        0 if N > 0 => {
            Err(format!("there is a user in the URL, and a token in {place}: use one of them"))
        }
        2.. => Err(format!(
            "the token in {place} is for one gateway, and there are two: put it into the URL of the one \
             that it is for, as in http://any:TOKEN@host:9091"
        )),
        _ => Ok(targets.map(|target| {
            if target.has_credentials() { target } else { target.with_token(&token) }
        })),
    }
}

/// The token, and where it was written.
fn token(file: Option<PathBuf>) -> Result<Option<(String, String)>, String> {
    let (text, place) = match file {
        Some(file) => {
            let place = file.display().to_string();
            let text = std::fs::read_to_string(&file);
            (text.map_err(|error| format!("cannot read the token in {place}: {error}"))?, place)
        }
        None => match variable(TOKEN_VARIABLE).filter(|text| !text.is_empty()) {
            Some(text) => (text, TOKEN_VARIABLE.to_owned()),
            None => return Ok(None),
        },
    };
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("{place}: expected a token and nothing else"));
    }
    Ok(Some((token.to_owned(), place)))
}
