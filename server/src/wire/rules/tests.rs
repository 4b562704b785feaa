use std::net::SocketAddrV4;

use linger_shared::dissect::tcp::Flags;

use super::*;
use crate::{
    journal::What,
    wire::craft::{Draft, Segment},
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

fn rules() -> Arc<Rules> {
    let rules = Rules::new(Arc::new(Journal::new()));
    rules.joins(vec![(HostName::Client, CLIENT), (HostName::Server, SERVER)]);
    rules
}

fn spec(text: &str) -> RuleSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn data(from: HostName) -> Box<[u8]> {
    let (from, to) = match from {
        HostName::Server => (SERVER, CLIENT),
        _ => (CLIENT, SERVER),
    };
    Draft {
        from: SocketAddrV4::new(from, 7654),
        to: SocketAddrV4::new(to, 7654),
        seq: 1,
        ack: Some(1),
        flags: Flags::PSH,
        window: 502,
        timestamps: None,
        payload: b"data",
    }
    .packet()
    .expect("it fits")
}

fn judge(rules: &Rules, from: HostName) -> Judgement {
    rules.judge(&Passing {
        id: 0,
        from,
        bytes: &data(from),
        departed: Instant::now(),
    })
}

fn drops(rules: &Rules, from: HostName) -> bool {
    judge(rules, from).fate != Fate::Deliver
}

/// What rules said so far: name, whose packets, whether active, by whom.
fn told(rules: &Rules) -> Vec<(String, HostName, bool, String)> {
    let reports = rules.journal.take(Vec::new());
    let facts = reports.into_iter().map(|report| match report.what {
        What::Fact(Fact::Rule {
            rule,
            from,
            active,
            by,
            ..
        }) => (rule, from, active, by),
        _ => panic!("rules tell of rules"),
    });
    facts.collect()
}

#[test]
fn a_cut_acts_on_one_direction_until_it_is_dropped() {
    let rules = rules();
    let cut = rules.cut(&[HostName::Server]);
    assert!(drops(&rules, HostName::Server));
    assert!(!drops(&rules, HostName::Client));
    drop(cut);
    assert!(!drops(&rules, HostName::Server));
}

#[test]
fn a_user_heals_what_users_cut_and_nothing_else() {
    let rules = rules();
    let cut = rules.cut(&[HostName::Server]);
    rules
        .cut_for_user(&[HostName::Client, HostName::Server])
        .unwrap();
    rules.cut_for_user(&[HostName::Client]).unwrap();
    rules.heal_users().unwrap();
    assert!(!drops(&rules, HostName::Client));
    assert!(drops(&rules, HostName::Server));
    assert!(rules.disturbed());
    drop(cut);
    assert!(!drops(&rules, HostName::Server));
}

#[test]
fn healing_what_only_the_script_did_is_refused_and_names_it() {
    let rules = rules();
    rules.heal_users().unwrap();
    let _cut = rules.cut(&[HostName::Server]);
    let _rule = rules.arm(spec("drop data as mine")).unwrap();
    assert_eq!(
        rules.heal_users().unwrap_err().to_string(),
        "the cut of what the server sends and the rule `mine` was armed by the experiment's \
         script, which alone takes it back"
    );
    rules.cut_for_user(&[HostName::Server]).unwrap();
    rules.heal_users().unwrap();
    assert!(rules.heal_users().is_err());
}

#[test]
fn a_cut_that_stays_is_not_healed() {
    let rules = rules();
    rules.cut(&[HostName::Server]).stay();
    rules.heal_users().unwrap_err();
    assert!(drops(&rules, HostName::Server));
}

#[test]
fn a_rule_disarms_itself_when_it_has_acted_and_says_so() {
    let rules = rules();
    let armed = rules.arm(spec("drop next 2 data from server")).unwrap();
    assert_eq!(armed.name(), "drop-1");
    assert!(!drops(&rules, HostName::Client));
    assert!(drops(&rules, HostName::Server));
    let event = |active| {
        (
            "drop-1".to_owned(),
            HostName::Server,
            active,
            "script".to_owned(),
        )
    };
    assert_eq!(told(&rules), [event(true)]);
    assert!(drops(&rules, HostName::Server));
    assert_eq!(told(&rules), [event(false)]);
    assert!(!drops(&rules, HostName::Server));
    assert!(!rules.any.load(Ordering::Acquire));
    drop(armed);
    assert_eq!(told(&rules), []);
}

#[test]
fn a_rule_is_armed_while_its_guard_is_held_or_for_good_if_it_stays() {
    let rules = rules();
    let armed = rules.arm(spec("drop data")).unwrap();
    assert!(drops(&rules, HostName::Server));
    drop(armed);
    assert!(!drops(&rules, HostName::Server));
    rules.arm(spec("drop data")).unwrap().stay();
    assert!(drops(&rules, HostName::Server));
    let names: Vec<String> = told(&rules).into_iter().map(|event| event.0).collect();
    // One event for either host, whose packets it both concerns.
    assert_eq!(
        names,
        ["drop-1", "drop-1", "drop-1", "drop-1", "drop-2", "drop-2"]
    );
}

#[test]
fn rules_act_in_the_order_in_which_they_were_armed_until_one_drops() {
    let rules = rules();
    let _first = rules.arm(spec("delay 5ms data")).unwrap();
    let _second = rules.arm(spec("answer rst 2nd data")).unwrap();
    let third = rules.arm(spec("drop data as third")).unwrap();
    let _fourth = rules.arm(spec("answer rst data")).unwrap();
    let judgement = judge(&rules, HostName::Client);
    assert_eq!(judgement.delay.as_millis(), 5);
    assert_eq!(judgement.answers, []);
    assert!(matches!(judgement.fate, Fate::Drop { rule, .. } if rule == "third"));
    drop(third);
    let answers = judge(&rules, HostName::Client).answers;
    let named: Vec<&str> = answers.iter().map(|answer| answer.rule.as_ref()).collect();
    assert_eq!(named, ["answer-2", "answer-3"]);
}

#[test]
fn a_users_rule_has_a_name_by_which_users_disarm_it_and_nobody_elses() {
    let rules = rules();
    let _script = rules.arm(spec("drop data as theirs")).unwrap();
    assert_eq!(
        rules.arm_for_user(spec("drop syn")),
        Ok("drop-1".to_owned())
    );
    assert_eq!(
        rules.arm_for_user(spec("drop syn as theirs")),
        Err(ArmError::Taken("theirs".to_owned()))
    );
    assert_eq!(
        rules.arm_for_user(spec("drop syn as cut")),
        Err(ArmError::Taken("cut".to_owned()))
    );
    assert!(matches!(
        rules.disarm_for_user("theirs"),
        Err(ArmError::NotYours(_))
    ));
    assert_eq!(
        rules.disarm_for_user("drop-7"),
        Err(ArmError::Unknown("drop-7".to_owned()))
    );
    rules.disarm_for_user("drop-1").unwrap();
    assert!(rules.disarm_for_user("drop-1").is_err());
    assert!(rules.disturbed());
    rules.arm_for_user(spec("drop data from client")).unwrap();
    rules.heal_users().unwrap();
    assert_eq!(rules.state().rules.len(), 1);
}

#[test]
fn users_arm_only_so_many_rules_and_only_for_hosts_that_are_there() {
    let rules = rules();
    for _ in 0..MOST_ARMED {
        rules.arm_for_user(spec("drop syn")).unwrap();
    }
    assert_eq!(rules.arm_for_user(spec("drop syn")), Err(ArmError::TooMany));
    rules.heal_users().unwrap();
    assert_eq!(
        rules.arm_for_user(spec("drop syn to proxy")),
        Err(ArmError::NoSuchHost(HostName::Proxy))
    );
    assert_eq!(
        rules.cut_for_user(&[HostName::Client, HostName::Proxy]),
        Err(ArmError::NoSuchHost(HostName::Proxy))
    );
    assert!(!drops(&rules, HostName::Client));
    let mut bad = spec("drop syn");
    bad.times = Some(0);
    assert!(matches!(rules.arm_for_user(bad), Err(ArmError::Bounds(_))));
}

#[test]
fn over_a_relay_only_cuts_work() {
    let rules = Rules::new(Arc::new(Journal::new()));
    assert_eq!(rules.arm_for_user(spec("drop syn")), Err(ArmError::Relay));
    assert!(rules.arm(spec("drop syn")).is_err());
    rules.cut_for_user(&[HostName::Client]).unwrap();
    rules.heal_users().unwrap();
}

#[test]
fn an_answer_does_not_cross_a_cut() {
    let rules = rules();
    let _rule = rules.arm(spec("reject rst data from client")).unwrap();
    let answers = judge(&rules, HostName::Client).answers;
    assert_eq!(Segment::parse(&answers[0].bytes).unwrap().flags, Flags::RST);
    let _cut = rules.cut(&[HostName::Server]);
    assert_eq!(judge(&rules, HostName::Client).answers, []);
}

#[tokio::test]
async fn a_stream_waits_until_its_direction_is_healed() {
    let rules = rules();
    rules.passable(HostName::Client).await;
    rules.cut_for_user(&[HostName::Client]).unwrap();
    let waiting = Arc::clone(&rules);
    let task = tokio::spawn(async move { waiting.passable(HostName::Client).await });
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    rules.heal_users().unwrap();
    task.await.unwrap();
}
