//! The command line of what is asked of a running gateway.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::time;
use crate::cli::gateway;
use crate::client::Target;
use crate::http::{sort_names, state_names};
use crate::model::{Selector, Ttl};

/// A command for a running gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Operate {
    pub gateway: Target,
    pub output: Output,
    /// `PromQL` selectors of which a group has to match one.
    pub selectors: Vec<String>,
    pub action: Action,
}

/// For whom the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Output {
    Table,
    Json,
}

/// The operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Action {
    /// List groups; `limit` zero lists all.
    Groups {
        metrics: Vec<String>,
        state: Option<String>,
        sort: String,
        limit: usize,
    },
    Delete {
        pushed_before: Option<String>,
        dry_run: bool,
        yes: bool,
    },
    /// `ttl`: a TTL or `default`.
    SetTtl {
        ttl: String,
        yes: bool,
    },
    Touch,
    /// `proposed`: a settings file whose `[ttl]` table is compared with the one in force.
    Preview {
        at: String,
        proposed: Option<PathBuf>,
        limit: usize,
    },
    Expired {
        why: Option<String>,
        limit: usize,
    },
    Restore {
        id: Option<u64>,
    },
    /// The replicas of a cluster.
    Replicas,
    /// Have the replica that leads give that up.
    StepDown,
}

impl Operate {
    /// From what was found of a command of [`commands`].
    pub(in crate::cli) fn new(name: &str, mut found: ArgMatches) -> Result<Self, String> {
        let action = match (name, found.remove_subcommand()) {
            ("delete", _) => Action::Delete {
                pushed_before: found.remove_one("pushed-before"),
                dry_run: found.get_flag("dry-run"),
                yes: found.get_flag("yes"),
            },
            ("ttl" | "expired", Some((name, inner))) => {
                found = inner;
                match name.as_str() {
                    "set" => Action::SetTtl {
                        ttl: found.remove_one("TTL").unwrap_or_default(),
                        yes: found.get_flag("yes"),
                    },
                    "touch" => Action::Touch,
                    "preview" => Action::Preview {
                        at: found.remove_one("at").unwrap_or_default(),
                        proposed: found.remove_one("config.file"),
                        limit: found.remove_one("limit").unwrap_or_default(),
                    },
                    _ => Action::Restore { id: found.remove_one("id") },
                }
            }
            ("cluster", Some((name, inner))) => {
                found = inner;
                if name == "status" { Action::Replicas } else { Action::StepDown }
            }
            ("expired", None) => Action::Expired {
                why: found.remove_one("why"),
                limit: found.remove_one("limit").unwrap_or_default(),
            },
            _ => Action::Groups {
                metrics: found.remove_many("metric").into_iter().flatten().collect(),
                state: found.remove_one("state"),
                sort: found.remove_one("sort").unwrap_or_default(),
                limit: found.remove_one("limit").unwrap_or_default(),
            },
        };
        let json = found.get_one::<String>("output").is_some_and(|output| output == "json");
        let url = found.remove_one::<String>("gateway").unwrap_or_default();
        let [gateway] = gateway::targets([&url], &mut found)?;
        Ok(Self {
            gateway,
            output: if json { Output::Json } else { Output::Table },
            selectors: match found.try_remove_many("SELECTOR") {
                Ok(selectors) => selectors.into_iter().flatten().collect(),
                // A command that has none.
                Err(_) => Vec::new(),
            },
            action,
        })
    }
}

/// The commands.
pub(in crate::cli) fn commands() -> [Command; 5] {
    [groups(), ttl(), delete(), expired(), cluster()]
}

/// The arguments that all of them have.
fn common() -> Vec<Arg> {
    let url = Arg::new("gateway")
        .long("gateway")
        .value_name("URL")
        .default_value("http://localhost:9091")
        .env("TIDEGATE_GATEWAY")
        // There may be a password in it.
        .hide_env_values(true)
        .value_parser(gateway::url)
        .help_heading(gateway::HEADING)
        .help("URL of the gateway, with its route prefix; user and password may be in it");
    let output = Arg::new("output")
        .long("output")
        .value_name("FORMAT")
        .value_parser(["table", "json"])
        .default_value("table")
        .help("A table for people, or JSON for programs");
    [url].into_iter().chain(gateway::args()).chain([output]).collect()
}

fn selectors() -> Arg {
    let parse = |text: &str| match Selector::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Arg::new("SELECTOR").num_args(0..).value_parser(parse).help(
        "PromQL selectors of grouping labels, as in '{job=~\"backup-.+\"}': groups that match one",
    )
}

/// `least`: 0 where that means all.
fn limit(default: &'static str, least: u64) -> Arg {
    Arg::new("limit")
        .long("limit")
        .value_name("N")
        .value_parser(
            value_parser!(u64)
                .range(least..)
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        )
        .default_value(default)
}

fn sort(text: &str) -> Result<String, String> {
    let by = text.strip_prefix('-').unwrap_or(text);
    if sort_names().any(|name| name == by) {
        return Ok(text.to_owned());
    }
    let names: Vec<_> = sort_names().collect();
    Err(format!("expected {}, or one of them with - in front", names.join(", ")))
}

fn yes() -> Arg {
    Arg::new("yes").long("yes").short('y').action(ArgAction::SetTrue).help("Do it without asking")
}

fn groups() -> Command {
    Command::new("groups")
        .about("List the groups of a running gateway: when they expire, and why")
        .after_help(
            "Examples:\n  tidegate groups --sort=deadline --limit=10\n      The next to expire.\n  \
             tidegate groups --state=failing '{job=~\"backup-.+\"}'\n      Backups whose last push \
             was refused.\n  tidegate groups --metric=http_requests_total\n      Who pushes this \
             metric.\n  tidegate groups --limit=0 --output=json | jq '.groups[].labels'\n      \
             All of them, for a program.",
        )
        .args(common())
        .arg(selectors())
        .arg(
            Arg::new("metric")
                .long("metric")
                .value_name("NAME")
                .action(ArgAction::Append)
                .value_parser(NonEmptyStringValueParser::new())
                .help("Only groups that have a metric of this name; may be repeated: any of them"),
        )
        .arg(
            Arg::new("state")
                .long("state")
                .value_name("STATE")
                .value_parser(PossibleValuesParser::new(state_names()))
                .help(
                    "Only groups whose last push succeeded or was refused, that never expire, are \
                     about to, or are late by their own rhythm",
                ),
        )
        .arg(
            Arg::new("sort")
                .long("sort")
                .value_name("BY")
                .value_parser(sort)
                .default_value("name")
                .allow_hyphen_values(true)
                .help("name, deadline, last_push, series, interval, state or ttl; with - in front the other way \
                     round"),
        )
        .arg(limit("100", 0).help("Most groups that are listed; 0 lists all"))
}

fn delete() -> Command {
    Command::new("delete")
        .about("Delete groups of a running gateway by selector")
        .long_about(
            "Deletes the groups that match a selector, after it has listed them and asked. Without \
             a terminal to ask on, --yes is needed. More than one group can be deleted only where \
             the gateway has web.enable-admin-api. `tidegate expired restore` restores them.",
        )
        .after_help(
            "Examples:\n  tidegate delete --dry-run '{instance=\"old-host\"}'\n      List the groups that would be \
             deleted.\n  tidegate delete --yes --pushed-before=-7d '{job=\"ci\"}'\n      \
             Delete the groups that nobody has pushed for a week.",
        )
        .args(common())
        .arg(selectors().required(true))
        .arg(
            Arg::new("pushed-before")
                .long("pushed-before")
                .value_name("TIME")
                .value_parser(time::past)
                .allow_hyphen_values(true)
                .help(
                    "Only groups whose last push was before: 2026-01-02T03:04:05Z, now, or -1h, which \
                     is an hour ago",
                ),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .conflicts_with("yes")
                .help("List the groups, and delete none"),
        )
        .arg(yes())
}

fn ttl() -> Command {
    let parse = |text: &str| match text {
        "default" => Ok(text.to_owned()),
        _ => match Ttl::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("{error}, or default")),
        },
    };
    let set = Command::new("set")
        .about("Override the TTL of groups, whatever pushes and rules say")
        .long_about(
            "Sets the TTL of the groups that match, until `default` takes that back. It counts from \
             the last push, so that a short one can expire a group at once.",
        )
        .after_help(
            "Examples:\n  tidegate ttl set never '{job=\"inventory\"}'\n      Keep it for ever.\n  \
             tidegate ttl set default '{job=\"inventory\"}'\n      Let pushes and rules decide again.",
        )
        .args(common())
        .arg(Arg::new("TTL").required(true).value_parser(parse).help(
            "A duration such as 36h, never, or default, which takes an override back",
        ))
        .arg(selectors().required(true))
        .arg(yes());
    let touch = Command::new("touch")
        .about("Have the TTL of groups count from now")
        .args(common())
        .arg(selectors().required(true));
    let preview = Command::new("preview")
        .about("List the groups that will have expired by a time, or under other rules")
        .long_about(
            "Lists the groups that will have expired by a time if nobody pushes to them again. With \
             --config.file it shows the effect of the [ttl] table of that file, group by group, \
             beside the settings in force. Nothing is changed.",
        )
        .after_help(
            "Examples:\n  tidegate ttl preview --at=+24h\n      The groups that will have expired tomorrow.\n  \
             tidegate ttl preview --config.file=new.toml\n      The effect of the new rules.",
        )
        .args(common())
        .arg(selectors())
        .arg(
            Arg::new("at")
                .long("at")
                .value_name("TIME")
                .default_value("now")
                .value_parser(time::any)
                .allow_hyphen_values(true)
                .help("A time: 2026-01-02T03:04:05Z, now, or +24h, which is in a day"),
        )
        .arg(
            Arg::new("config.file")
                .long("config.file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("TOML file with the [ttl] table to compare"),
        )
        .arg(limit("1000", 1).help("Most groups that are listed"));
    Command::new("ttl")
        .about("Preview, override and renew the TTLs of a running gateway")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([preview, set, touch])
}

fn expired() -> Command {
    let restore = Command::new("restore")
        .about("Restore groups that expired or were deleted")
        .long_about(
            "Restores the latest group that expired or was deleted under each grouping key that \
             matches, with its data, for its TTL from now on.",
        )
        .after_help("Example:\n  tidegate expired restore '{job=\"backup-db\"}'")
        .args(common())
        .arg(selectors().required_unless_present("id"))
        .arg(
            Arg::new("id")
                .long("id")
                .value_name("ID")
                .value_parser(value_parser!(u64))
                .help("Only this one, by the id that `tidegate expired` lists"),
        );
    Command::new("expired")
        .about("List and restore groups that expired or were deleted in a running gateway")
        .args(common())
        .arg(selectors())
        .arg(
            Arg::new("why")
                .long("why")
                .value_name("WHY")
                .value_parser(["expired", "deleted"])
                .help("Only groups that expired, or were deleted"),
        )
        .arg(limit("100", 1).help("Most groups that are listed"))
        .args_conflicts_with_subcommands(true)
        .subcommand(restore)
}

fn cluster() -> Command {
    let status = Command::new("status")
        .about("List the replicas: who leads, how their clocks and settings differ")
        .after_help("Example:\n  tidegate cluster status --gateway=http://gateway-1:9091")
        .args(common());
    let step_down = Command::new("step-down")
        .about("Have the replica that leads give that up")
        .long_about(
            "Has the replica that leads give that up, and another come to lead. Pushes wait some \
             milliseconds meanwhile. A replica that is stopped gives it up by itself.",
        )
        .args(common());
    Command::new("cluster")
        .about("Look at the replicas of a cluster (cluster.endpoints)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([status, step_down])
}
