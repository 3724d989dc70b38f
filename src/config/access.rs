//! `[access]` and `[[access.tokens]]`.

use std::sync::Arc;

use super::reader::Reader;
use super::sources::RawToken;
use super::{table, values};
use crate::http::access::{Options, Token, TokenHash};
use crate::model::Selector;

const EXAMPLE: &str = "`tidegate token` makes one";

impl Reader<'_> {
    pub(super) fn access(&mut self) -> Option<Options> {
        let anonymous = self.list(&table::ACCESS_ANONYMOUS);
        let admin_from = self.list(&table::ACCESS_ADMIN_FROM);
        let lifecycle_from = self.list(&table::ACCESS_LIFECYCLE_FROM);
        let sources = self.sources;
        let tokens: Vec<_> = sources.tokens.iter().map(|token| self.token(token)).collect();
        for (at, token) in sources.tokens.iter().enumerate() {
            let twice = sources.tokens.iter().take(at).any(|other| other.name == token.name);
            if twice && token.name.is_some() {
                let place = format!("{}: name", token.place);
                self.problems.add(&place, "another token has the same name");
            }
        }
        let tokens = tokens.into_iter().collect::<Option<_>>()?;
        Some(Options {
            tokens,
            anonymous: anonymous?,
            admin_from: admin_from?,
            lifecycle_from: lifecycle_from?,
        })
    }

    fn token(&mut self, raw: &RawToken) -> Option<Token> {
        let RawToken { place, name, hash, may, selector } = raw;
        let name = match name.as_deref() {
            None | Some("") => Err("the key name is missing, as in name = \"ci\"".to_owned()),
            Some(name) => Ok(Arc::from(name)),
        };
        let hash = match hash {
            None => Err(format!("the key hash is missing; {EXAMPLE}")),
            // Not what was found: it may be the secret itself.
            Some(text) => TokenHash::parse(text)
                .ok_or_else(|| format!("expected sha256: and 64 hexadecimal digits; {EXAMPLE}")),
        };
        let permissions = if may.is_empty() {
            Err("the key may is missing, as in may = [\"push\"]".to_owned())
        } else {
            may.iter().map(|name| values::permission(name)).collect::<Result<Vec<_>, _>>()
        };
        let groups = selector.as_deref().map(Selector::parse).transpose();
        let groups = groups.map_err(|error| error.to_string());
        let limited = selector.is_some() && may.iter().any(|name| name == "scrape");
        let scrape = if limited {
            Err("a scrape shows every group: leave out scrape, or match".to_owned())
        } else {
            Ok(())
        };
        let name = self.problems.check(&format!("{place}: name"), name);
        let hash = self.problems.check(&format!("{place}: hash"), hash);
        let may = self.problems.check(&format!("{place}: may"), permissions);
        let groups = self.problems.check(&format!("{place}: match"), groups);
        self.problems.check(&format!("{place}: may"), scrape)?;
        Some(Token { name: name?, hash: hash?, may: may?, groups: groups?.map(Arc::new) })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn all_that_is_wrong_with_tokens_is_named_and_no_secret_is_shown() {
        let text = "[access]\nanonymous = [\"look\"]\nadmin-from = [\"10.0.0.0/99\"]\n\
                    [[access.tokens]]\nname = \"a\"\nhash = \"tidegate_secret\"\nmay = [\"fly\"]\n\
                    [[access.tokens]]\nname = \"a\"\nmatch = \"{\"\nbogus = 1\n";
        let problems = Config::from_toml(text).unwrap_err().to_string();
        for part in [
            "access.anonymous: expected one of push, delete, scrape, read, admin, found \"look\"",
            "access.admin-from: expected a network",
            "token 1 of access.tokens (line 4): hash: expected sha256:",
            "token 1 of access.tokens (line 4): may: expected one of",
            "token 2 of access.tokens (line 8): name: another token has the same name",
            "token 2 of access.tokens (line 8): hash: the key hash is missing",
            "token 2 of access.tokens (line 8): may: the key may is missing",
            "token 2 of access.tokens (line 8): match: ",
            "token 2 of access.tokens (line 8): bogus: unknown key",
        ] {
            assert!(problems.contains(part), "{part} is not in\n{problems}");
        }
        assert!(!problems.contains("tidegate_secret"), "{problems}");
    }

    #[test]
    fn a_token_for_some_groups_cannot_scrape_all() {
        let hash = "0".repeat(64);
        let token = |may: &str| {
            format!(
                "[[access.tokens]]\nname = \"a\"\nhash = \"sha256:{hash}\"\nmay = [{may}]\n\
                 match = '{{job=\"a\"}}'\n"
            )
        };
        Config::from_toml(&token("\"push\"")).unwrap();
        let problems = Config::from_toml(&token("\"push\", \"scrape\"")).unwrap_err();
        assert!(problems.to_string().contains("a scrape shows every group"), "{problems}");
    }
}
