//! Ten thousand devices in virtual time, and the code that decides on each of them: whose turn it is, what is due, what
//! becomes of a release whatever happens. No network, no disk and no clock; the same from the same seed.

mod member;
mod world;

use eir::update::machine::{Kind, MAX_MOVES, State};
use eir::update::release::About;
use eir::update::wave::place;

use self::member::{LOOK, Member};
use self::world::{
    DAY, DEVICES, EVERY, FAIR, FIRST, Flaw, Fleet, STOP_AT, WAVES, Weather, in_waves,
};

/// A share of the devices within four standard deviations of a binomial distribution; of all of them: all.
fn is_near(count: usize, percent: f64) -> bool {
    let (all, share) = (DEVICES as f64, percent / 100.0);
    let off = 4.0 * (all * share * (1.0 - share)).sqrt();
    (count as f64 - all * share).abs() <= off
}

/// Every release that was begun had its end within its moves, and serves or does not as its end says; none was begun
/// twice.
fn assert_ended(fleet: &Fleet) {
    for member in &fleet.members {
        let Some(progress) = &member.progress else {
            assert_eq!(member.serves, FIRST, "{member:?}");
            continue;
        };
        assert!(progress.state.is_final() && progress.moves <= MAX_MOVES, "{member:?}");
        let serves = progress.state == State::Committed;
        assert_eq!(member.serves == member.trying, serves, "{member:?}");
        assert_eq!(progress.reason.is_none(), serves, "{member:?}");
        let mut begun: Vec<_> = member.begun.iter().map(|(release, _)| release).collect();
        begun.sort();
        begun.dedup();
        assert_eq!(begun.len(), member.begun.len(), "{member:?}");
    }
}

/// Devices that ever began a release, and when the last one did.
fn takers(fleet: &Fleet, release: u64) -> (Vec<&Member>, u32) {
    let began = |member: &Member| {
        member.begun.iter().find(|(known, _)| *known == release).map(|(_, when)| *when)
    };
    let last = fleet.members.iter().filter_map(began).max();
    let takers = fleet.members.iter().filter(|member| began(member).is_some());
    (takers.collect(), last.expect("somebody began it"))
}

/// Requests in the fullest minute, as a multiple of what is asked for in one where nothing is new.
fn peak(fleet: &Fleet) -> f64 {
    let quiet = f64::from(LOOK) * DEVICES as f64 / f64::from(EVERY);
    f64::from(*fleet.requests.iter().max().expect("minutes")) / quiet
}

#[test]
fn a_good_release_lands_wave_by_wave_and_everywhere_in_the_end() {
    let mut fleet = Fleet::new(Kind::Model, FAIR, 1);
    fleet.publish(4, in_waves(Some(STOP_AT)), None);
    let release = fleet.repository.name(4);
    let ends = WAVES[1..].iter().map(|(_, after)| *after).chain([4 * DAY + DAY / 2]);
    for ((percent, _), end) in WAVES.into_iter().zip(ends) {
        fleet.run_until(end);
        let serves: Vec<_> = fleet.members.iter().filter(|member| member.serves == 4).collect();
        assert!(is_near(serves.len(), percent), "{} of {percent} %", serves.len());
        assert!(serves.iter().all(|member| place(&member.id, &release) < percent));
    }
    assert_ended(&fleet);
    assert_eq!((fleet.count(4, State::Committed), fleet.keeper.halted.len()), (DEVICES, 0));
    // It was no easy time.
    let lived = &fleet.lived;
    assert!(lived.away > 1000 && lived.cut_off > 100 && lived.restarts > 100, "{lived:?}");
    // What is new is fetched with the next look, which asks for twice as much then; in the last wave half of the devices
    // fetch four pieces with each look: twice the mean both times, and four standard deviations.
    assert!(peak(&fleet) < 3.5, "{}", peak(&fleet));
}

#[test]
fn a_bad_release_is_stopped_in_its_first_wave_and_taken_back() {
    for (kind, at, flaw) in [
        (Kind::Model, State::Shadow, Flaw::Fails),
        (Kind::Model, State::Canary, Flaw::Crashes),
        (Kind::Binary, State::Probation, Flaw::Fails),
        (Kind::Binary, State::Probation, Flaw::Crashes),
    ] {
        let mut fleet = Fleet::new(kind, FAIR, 2);
        fleet.publish(4, in_waves(Some(STOP_AT)), Some((at, flaw)));
        // All have looked again since the second wave began.
        fleet.run_until(WAVES[1].1 + EVERY * 3 / 2);
        let halted = fleet.keeper.halted[&4];
        let release = fleet.repository.name(4);
        let (takers, last) = takers(&fleet, 4);
        assert!(halted < WAVES[1].1 && last <= halted, "{at} {flaw:?}: {halted}, {last}");
        let is_first = |member: &&Member| place(&member.id, &release) < WAVES[0].0;
        let first = fleet.members.iter().filter(is_first).count();
        assert!(is_near(first, WAVES[0].0) && takers.len() <= first && takers.iter().all(is_first));
        assert_eq!(fleet.count(4, State::RolledBack), takers.len(), "{at} {flaw:?}");
        assert!(fleet.members.iter().all(|member| member.serves == FIRST), "{at} {flaw:?}");
        assert_ended(&fleet);
    }
}

#[test]
fn after_two_bad_releases_everybody_ends_on_the_good_one() {
    let mut fleet = Fleet::new(Kind::Binary, FAIR, 3);
    // The first goes to all at once, and nobody halts it: it is due again wherever the second is taken back.
    fleet.publish(4, About::default(), Some((State::Probation, Flaw::Fails)));
    fleet.run_until(DAY / 2);
    fleet.publish(5, in_waves(Some(STOP_AT)), Some((State::Probation, Flaw::Crashes)));
    fleet.run_until(DAY);
    fleet.publish(6, About::default(), None);
    fleet.run_until(2 * DAY + DAY / 2);
    let [first, second] = [4, 5].map(|release| takers(&fleet, release).0);
    let both = |member: &&&Member| member.begun.iter().map(|(release, _)| release).eq(&[4, 5, 6]);
    assert!(first.len() > DEVICES * 9 / 10 && is_near(second.len(), WAVES[0].0));
    assert!(second.iter().filter(both).count() > second.len() / 2);
    assert!(fleet.keeper.halted.keys().eq(&[5]), "{:?}", fleet.keeper.halted);
    assert_ended(&fleet);
    assert_eq!(fleet.count(6, State::Committed), DEVICES);
}

#[test]
fn whatever_devices_go_through_a_release_has_its_end() {
    // Every second thing that a device has to do is cut short.
    let foul = Weather { away: 50, cut_off: 40, restart: 500 };
    let mut fleet = Fleet::new(Kind::Model, foul, 4);
    fleet.publish(4, About::default(), None);
    fleet.run_until(4 * DAY);
    assert_ended(&fleet);
    let because = |words: &str| {
        let progress = fleet.members.iter().filter_map(|member| member.progress.as_ref());
        let reasons = progress.filter_map(|progress| progress.reason.as_ref());
        reasons.filter(|reason| reason.contains(words)).count()
    };
    let [cut_off, no_end] = ["starts were cut off", "no end after"].map(because);
    let committed = fleet.count(4, State::Committed);
    assert_eq!(committed + cut_off + no_end, DEVICES);
    assert!(committed > DEVICES / 2 && cut_off > 100 && no_end > 100, "{cut_off} {no_end}");
}

#[test]
fn devices_that_were_switched_on_together_do_not_ask_together() {
    let mut fleet = Fleet::new(Kind::Model, FAIR, 5);
    fleet.run_until(DAY / 2);
    // 56 looks a minute, and four standard deviations of a Poisson distribution.
    assert!(peak(&fleet) < 1.6, "{}", peak(&fleet));
    // The first look comes after a wait, too: looks begin at the mean, as the first waits end within `every`, and where the
    // last of them end half of the second do: 1.5 times the mean, 83 looks a minute. Had all looked at once, the first
    // minute would have had 180 times the mean.
    let mut fleet = Fleet::switched_on(Kind::Model, FAIR, 5);
    fleet.run_until(DAY / 2);
    assert!(peak(&fleet) < 2.2, "{}", peak(&fleet));
    // Something was published while they were off: the first looks ask for twice as much, 2.5 times the mean at most.
    let mut fleet = Fleet::switched_on(Kind::Model, FAIR, 5);
    fleet.publish(4, in_waves(Some(STOP_AT)), None);
    fleet.run_until(DAY / 2);
    assert!(peak(&fleet) < 3.7, "{}", peak(&fleet));
}
