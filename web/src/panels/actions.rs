//! What can be done to a run while it goes on, and what is in force at the moment.

use linger_shared::{
    event::HostName,
    protocol::Action,
    rule::{Act, Match, RuleSpec},
};
use yew::prelude::*;

use super::Order;
use crate::state::force::{Armed, InForce};

/// The id of the menu, by which its buttons open and close it.
const MENU: &str = "faults";

/// What the bar is made from.
#[derive(Properties, PartialEq)]
pub(crate) struct Props {
    /// The run's hosts, in the order of their lanes.
    pub(crate) hosts: Vec<HostName>,
    /// What is in force.
    pub(crate) in_force: InForce,
    /// What only the server can do.
    pub(crate) order: Callback<Order>,
}

/// The bar. See the module.
#[component]
pub(crate) fn Actions(props: &Props) -> Html {
    let onclick = {
        let order = props.order.clone();
        move |_| order.emit(Order::Act(Action::Heal))
    };
    html! {
        <div class="actions" role="group" aria-label="Do something to the run">
            <button type="button" class="faults" popovertarget={MENU}
                title="Cut the wire, drop a packet, take a host's power">
                { "Inject a fault" }
            </button>
            <div id={MENU} class="menu" popover="auto">
                { for groups(props).into_iter().map(|(title, items)| html! {
                    <section>
                        <h2>{ title }</h2>
                        { for items.into_iter().map(|item| entry(item, &props.order)) }
                    </section>
                }) }
            </div>
            <button type="button" class="heal" disabled={!props.in_force.can_heal()} {onclick}
                title="Undo every cut and every rule that was made by hand">{ "Heal" }</button>
            { standing(props) }
        </div>
    }
}

/// One thing that can be done.
struct Item {
    text: String,
    /// Whether it would change anything.
    enabled: bool,
    action: Action,
}

fn entry(item: Item, order: &Callback<Order>) -> Html {
    let Item {
        text,
        enabled,
        action,
    } = item;
    let order = order.clone();
    html! {
        <button type="button" disabled={!enabled} popovertarget={MENU} popovertargetaction="hide"
            onclick={move |_| order.emit(Order::Act(action.clone()))}>{ text }</button>
    }
}

/// What the menu offers, in groups; a group without items is left out.
fn groups(props: &Props) -> Vec<(&'static str, Vec<Item>)> {
    let Props {
        hosts, in_force, ..
    } = props;
    let mut cuts = vec![Item {
        text: if hosts.len() == 2 {
            "Both ways".to_owned()
        } else {
            "Everywhere".to_owned()
        },
        enabled: !hosts.iter().all(|&host| in_force.is_cut(host)),
        action: Action::Cut { from: None },
    }];
    cuts.extend(hosts.iter().map(|&host| Item {
        text: capital(&way(host, hosts)),
        enabled: !in_force.is_cut(host),
        action: Action::Cut { from: Some(host) },
    }));
    let drops = hosts.iter().map(|&host| Item {
        text: format!("From the {host}"),
        enabled: true,
        action: drop_next(host),
    });
    let power = hosts.iter().map(|&host| {
        if in_force.dark.contains(&host) {
            Item {
                text: format!("Switch the {host} on again"),
                enabled: true,
                action: Action::PowerOn { host },
            }
        } else {
            Item {
                text: format!("Switch the {host} off"),
                enabled: true,
                action: Action::PowerOff { host },
            }
        }
    });
    let busy = hosts.iter().filter(|&&host| in_force.is_busy(host));
    let kills = busy.map(|&host| Item {
        text: format!("On the {host}"),
        enabled: true,
        action: Action::Kill { host },
    });
    [
        ("Cut the wire", cuts),
        ("Drop the next packet with data", drops.collect()),
        ("Power", power.collect()),
        ("Kill the programs (SIGKILL)", kills.collect()),
    ]
    .into_iter()
    .filter(|(_, items)| !items.is_empty())
    .collect()
}

/// The rule that loses one packet with data that a host sends.
fn drop_next(host: HostName) -> Action {
    let matches = Match {
        from: Some(host),
        payload: Some(true),
        ..Match::default()
    };
    let rule = RuleSpec {
        times: Some(1),
        ..RuleSpec::new(matches, Act::Drop {})
    };
    Action::Arm { rule }
}

/// What is in force, so that a glance tells why packets are lost.
fn standing(props: &Props) -> Html {
    let Props {
        hosts, in_force, ..
    } = props;
    let cuts = [true, false]
        .into_iter()
        .filter_map(|by_hand| Some(chip(by_hand, cut(in_force, hosts, by_hand)?, None)));
    let rules = in_force.rules.iter().map(|armed| {
        let Armed {
            name,
            detail,
            by_hand,
        } = armed;
        let disarm = by_hand.then(|| disarm(name, detail, &props.order));
        chip(*by_hand, detail.clone(), disarm)
    });
    let dark = in_force
        .dark
        .iter()
        .map(|host| chip(true, format!("{host} has no power"), None));
    let chips: Vec<Html> = cuts.chain(rules).chain(dark).collect();
    if chips.is_empty() {
        return Html::default();
    }
    html! { <ul class="force" aria-label="In force now">{ chips }</ul> }
}

fn chip(by_hand: bool, text: String, button: Option<Html>) -> Html {
    html! {
        <li>
            <span>{ capital(&text) }</span>
            if !by_hand {
                <small>{ "by the experiment" }</small>
            }
            { button.unwrap_or_default() }
        </li>
    }
}

fn disarm(name: &str, detail: &str, order: &Callback<Order>) -> Html {
    let order = order.clone();
    let action = Action::Disarm {
        rule: name.to_owned(),
    };
    html! {
        <button type="button" class="close" title="Disarm"
            aria-label={format!("Disarm the rule that {detail}")}
            onclick={move |_| order.emit(Order::Act(action.clone()))}>{ "\u{d7}" }</button>
    }
}

/// Which ways are cut by whom.
fn cut(in_force: &InForce, hosts: &[HostName], by_hand: bool) -> Option<String> {
    let cut: Vec<HostName> = in_force
        .cuts
        .iter()
        .filter(|cut| cut.by_hand == by_hand)
        .map(|cut| cut.from)
        .collect();
    match &cut[..] {
        [] => None,
        all if all.len() == hosts.len() && all.len() == 2 => Some("cut both ways".to_owned()),
        all if all.len() == hosts.len() => Some("cut everywhere".to_owned()),
        some => {
            let ways: Vec<String> = some.iter().map(|&host| way(host, hosts)).collect();
            Some(format!("cut {}", ways.join(", ")))
        }
    }
}

/// What a host sends, by where it goes where there is only one place.
fn way(from: HostName, hosts: &[HostName]) -> String {
    match hosts {
        [one, other] => {
            let to = if *one == from { other } else { one };
            format!("{from} \u{2192} {to}")
        }
        _ => format!("what the {from} sends"),
    }
}

/// A text of our own, which begins with an ASCII letter, as a line of its own.
fn capital(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{panels::tests::render, state::force::Cut};

    const HOSTS: [HostName; 2] = [HostName::Client, HostName::Server];

    async fn bar(hosts: &[HostName], in_force: InForce) -> String {
        let order = Callback::noop();
        render(html! { <Actions hosts={hosts.to_vec()} {in_force} {order} /> }).await
    }

    #[tokio::test]
    async fn an_undisturbed_run_offers_faults_and_nothing_to_heal() {
        let text = bar(&HOSTS, InForce::default()).await;
        for part in [
            "Both ways",
            "Client \u{2192} server",
            "Server \u{2192} client",
            "From the server",
            "Switch the client off",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("SIGKILL"), "no program runs");
        assert!(!text.contains("In force now"));
        assert_eq!(text.matches("disabled=").count(), 1, "Heal alone: {text}");
    }

    #[tokio::test]
    async fn what_is_in_force_is_told_with_who_did_it() {
        let cut = |from, by_hand| Cut { from, by_hand };
        let detail = "drops the next packet with data sent by client".to_owned();
        let in_force = InForce {
            cuts: vec![cut(HOSTS[0], false), cut(HOSTS[1], true)],
            rules: vec![Armed {
                name: "drop-1".to_owned(),
                detail,
                by_hand: true,
            }],
            dark: vec![HOSTS[1]],
            ..InForce::default()
        };
        let text = bar(&HOSTS, in_force).await;
        for part in [
            "Cut server \u{2192} client",
            "Cut client \u{2192} server</span><small>by the experiment",
            "Drops the next packet with data sent by client",
            "Disarm the rule that drops the next packet",
            "Server has no power",
            "Switch the server on again",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("disabled=").count(), 3, "the three cuts");
    }

    #[tokio::test]
    async fn with_a_proxy_each_host_is_named_alone() {
        let hosts = [HostName::Client, HostName::Proxy, HostName::Server];
        let text = bar(&hosts, InForce::default()).await;
        for part in ["Everywhere", "What the proxy sends", "From the proxy"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_rule_that_loses_one_packet_is_within_its_bounds() {
        let Action::Arm { rule } = drop_next(HostName::Server) else {
            panic!("it arms a rule");
        };
        rule.check().unwrap();
        assert_eq!(
            rule.to_string(),
            "drops the next packet with data sent by server"
        );
    }
}
