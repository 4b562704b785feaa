//! The experiments: one file each, and one list.
//!
//! An experiment is a question with typed parameters and the script that answers it. It knows
//! nothing of routes, browsers, threads or descriptors; its verdict is worked out by `runs`.

mod http_sequential;
mod path_drop_or_reject;
mod path_idle_expiry;
mod path_proxy;
mod path_timeout_chain;
mod tcp_close_styles;
mod tcp_dead_peer;
mod tcp_half_open;
mod tcp_keepalive;
mod tcp_keepalive_defaults;
mod tcp_lifecycle;
mod tcp_nagle;
mod tcp_one_way_cut;
mod tcp_port_exhaustion;
mod tcp_slow_start_idle;
mod tcp_syn_blackhole;
mod tcp_unacked_data;
mod tcp_user_timeout;

use std::pin::Pin;

use std::collections::BTreeMap;

use linger_shared::{
    experiment::{Claim, Descriptor, Finding, Params, Preset, Reference, Value},
    theory::{self, wheel::Spread},
};

use crate::{
    endpoints::KeepAlive,
    lab::{Lab, LabError, Plan},
};

/// Every experiment, in the order of the catalogue.
pub const ALL: &[&dyn Experiment] = &[
    &tcp_lifecycle::TcpLifecycle,
    &tcp_keepalive::TcpKeepalive,
    &tcp_keepalive_defaults::TcpKeepaliveDefaults,
    &tcp_dead_peer::TcpDeadPeer,
    &tcp_unacked_data::TcpUnackedData,
    &tcp_user_timeout::TcpUserTimeout,
    &tcp_one_way_cut::TcpOneWayCut,
    &tcp_half_open::TcpHalfOpen,
    &tcp_close_styles::TcpCloseStyles,
    &tcp_port_exhaustion::TcpPortExhaustion,
    &tcp_syn_blackhole::TcpSynBlackhole,
    &tcp_slow_start_idle::TcpSlowStartIdle,
    &tcp_nagle::TcpNagle,
    &path_idle_expiry::PathIdleExpiry,
    &path_drop_or_reject::PathDropOrReject,
    &path_proxy::PathProxy,
    &path_timeout_chain::PathTimeoutChain,
    &http_sequential::HttpSequential,
];

/// A script's work.
pub type Script<'a> = Pin<Box<dyn Future<Output = Result<(), LabError>> + Send + 'a>>;

/// A question that a run answers.
pub trait Experiment: Sync {
    /// Its id, the same as the descriptor's.
    fn id(&self) -> &'static str;

    /// What is asked, of whom, and where it is explained.
    fn descriptor(&self) -> Descriptor;

    /// What its hosts and its link are to be like.
    fn plan(&self, params: &Params) -> Plan;

    /// Answers the question in a lab that is made as planned.
    fn run<'a>(&'a self, lab: &'a mut Lab, params: &'a Params) -> Script<'a>;
}

/// The experiment of that id.
pub fn find(id: &str) -> Option<&'static dyn Experiment> {
    ALL.iter().copied().find(|experiment| experiment.id() == id)
}

/// The id that a misspelt one may have meant.
pub fn nearest(id: &str) -> Option<&'static str> {
    linger_shared::experiment::nearest(id, ALL.iter().map(|experiment| experiment.id()))
}

fn reference(title: &str, url: &str) -> Reference {
    Reference {
        title: title.to_owned(),
        url: url.to_owned(),
    }
}

/// Values of parameters, as a preset or a claim has them.
fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())))
        .collect()
}

fn preset(name: &str, description: &str, pairs: &[(&str, &str)]) -> Preset {
    Preset {
        name: name.to_owned(),
        description: description.to_owned(),
        values: values(pairs),
    }
}

/// Something that is said of the matter, what a run with these values shows of it, and why.
fn claim(claim: &str, finding: Finding, because: &str, pairs: &[(&str, &str)]) -> Claim {
    Claim {
        claim: claim.to_owned(),
        finding,
        because: because.to_owned(),
        values: values(pairs),
    }
}

/// The keep-alive that the parameters `idle`, `interval` and `count` ask for: sockets take whole
/// seconds, so the times are rounded up.
fn keepalive_of(params: &Params) -> KeepAlive {
    let whole_seconds = |name| params.duration_us(name).div_ceil(1_000_000) * 1_000_000;
    KeepAlive {
        idle_us: whole_seconds("idle"),
        interval_us: whole_seconds("interval"),
        count: u32::try_from(params.integer("count")).unwrap_or(u32::MAX),
    }
}

/// When the kernel gives an idle connection up that has this keep-alive, after it last heard of its
/// peer.
fn probed(keepalive: KeepAlive, tick_us: u64) -> Spread {
    let KeepAlive {
        idle_us,
        interval_us,
        count,
    } = keepalive;
    theory::keepalive::given_up(idle_us, interval_us, count, tick_us)
}

fn paragraphs(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use linger_shared::experiment::ParamType;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_list_and_the_other_way_round() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/experiments");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs")
            .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
            .collect();
        files.sort();
        let mut ids: Vec<&str> = ALL.iter().map(|experiment| experiment.id()).collect();
        ids.sort_unstable();
        assert_eq!(files, ids);
    }

    #[test]
    fn every_experiment_says_what_a_reader_needs() {
        for &experiment in ALL {
            let about = experiment.descriptor();
            let id = experiment.id();
            assert_eq!(about.id, id);
            for text in [
                &about.title,
                &about.question,
                &about.family,
                &about.misconception,
            ] {
                assert!(!text.is_empty(), "{id}");
            }
            assert!(about.explanation.len() >= 2, "{id}");
            assert!(!about.look_for.is_empty(), "{id}");
            assert!(!about.references.is_empty(), "{id}");
            assert!(!about.modes.is_empty(), "{id}");
            for param in &about.params {
                assert!(!param.description.is_empty(), "{id} {}", param.name);
                assert_eq!(
                    param.check(&param.default).as_ref(),
                    Ok(&param.default),
                    "{id}: the default of {} is within its bounds and in its written form",
                    param.name
                );
                assert_eq!(
                    param.kind == ParamType::Choice,
                    !param.choices.is_empty(),
                    "{id} {}",
                    param.name
                );
            }
            for preset in &about.presets {
                assert!(
                    about.resolve(&preset.values).is_ok(),
                    "{id}: preset {}",
                    preset.name
                );
            }
            for claim in &about.claims {
                assert!(!claim.because.is_empty(), "{id}: {}", claim.claim);
                assert!(
                    about.resolve(&claim.values).is_ok(),
                    "{id}: {}",
                    claim.claim
                );
            }
            assert!(about.resolve(&BTreeMap::new()).is_ok());
        }
    }

    #[test]
    fn a_misspelt_id_finds_its_neighbour() {
        assert_eq!(nearest("tcp-ded-peer"), Some("tcp-dead-peer"));
        assert!(find("tcp-dead-peer").is_some());
        assert!(find("tcp-ded-peer").is_none());
    }
}
