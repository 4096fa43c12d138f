//! Calls and their answers.

use trunkline_broker::{Limits, SessionId, ShardConfig};
use trunkline_wire::{ErrorCode, Failure, RpcCall, Subscribe, SubscribeFlags};

use crate::world::{Got, World, request};

fn respond_to(world: &mut World, slot: u32, pattern: &str) -> SessionId {
    let session = world.open(slot);
    let subscribe = Subscribe {
        flags: SubscribeFlags::RESPONDER,
        ..request(1, pattern)
    };
    assert_eq!(world.subscribe_with(session, &subscribe), Ok(0));
    session
}

fn call(world: &mut World, session: SessionId, correlation: u16, subject: &str, payload: &[u8]) {
    call_within(world, session, correlation, subject, payload, 0);
}

fn call_within(
    world: &mut World,
    session: SessionId,
    correlation: u16,
    subject: &str,
    payload: &[u8],
    timeout_ms: u32,
) {
    let call = RpcCall {
        timeout_ms,
        subject,
        payload,
    };
    world
        .shard
        .call(session, correlation, &call, world.now, &mut world.out);
    world.settle();
}

fn answer(world: &mut World, session: SessionId, correlation: u16, payload: &[u8]) {
    world
        .shard
        .respond(session, correlation, payload, &mut world.out);
    world.settle();
}

/// Correlation and payload of the calls that came.
fn calls(world: &mut World, session: SessionId) -> Vec<(u16, Vec<u8>)> {
    world
        .got(session)
        .into_iter()
        .map(|got| match got {
            Got::Call {
                correlation,
                payload,
                ..
            } => (correlation, payload),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn error(correlation: u16, code: ErrorCode) -> Got {
    Got::Refused {
        frame: correlation,
        code,
        count: 0,
        producer_sequence: 0,
    }
}

#[test]
fn an_answer_comes_back_under_the_callers_correlation() {
    let mut world = World::new();
    let (one, two) = (world.open(1), world.open(2));
    let responder = respond_to(&mut world, 3, "svc.*");
    call(&mut world, one, 7, "svc.echo", b"from one");
    call(&mut world, two, 7, "svc.echo", b"from two");
    let got = calls(&mut world, responder);
    assert_eq!([&got[0].1[..], &got[1].1], [b"from one", b"from two"]);
    assert_ne!(got[0].0, got[1].0);
    answer(&mut world, responder, got[1].0, b"for two");
    answer(&mut world, responder, got[0].0, b"for one");
    let response = |payload: &[u8]| Got::Response {
        correlation: 7,
        payload: payload.into(),
    };
    assert_eq!(world.got(one), [response(b"for one")]);
    assert_eq!(world.got(two), [response(b"for two")]);
}

#[test]
fn a_responder_that_fails_says_so_to_the_caller_once() {
    let mut world = World::new();
    let caller = world.open(1);
    let responder = respond_to(&mut world, 2, "svc");
    call(&mut world, caller, 7, "svc", b"");
    let got = calls(&mut world, responder);
    let failure = Failure {
        code: 3,
        message: "no such picture",
    };
    for _ in 0..2 {
        world
            .shard
            .respond_failed(responder, got[0].0, &failure, &mut world.out);
        world.settle();
    }
    let failed = Got::Failed {
        correlation: 7,
        code: 3,
        message: "no such picture".into(),
    };
    assert_eq!(world.got(caller), [failed]);
    call(&mut world, caller, 8, "svc", b"");
    assert_eq!(calls(&mut world, responder).len(), 1, "it goes on");
}

#[test]
fn a_call_that_nobody_answers_is_told_so_at_once() {
    let mut world = World::new();
    let caller = world.open(1);
    respond_to(&mut world, 2, "svc.other");
    call(&mut world, caller, 1, "svc.echo", b"");
    assert_eq!(world.got(caller), [error(1, ErrorCode::NOBODY_LISTENS)]);
    call(&mut world, caller, 2, "svc..echo", b"");
    assert_eq!(world.got(caller), [error(2, ErrorCode::SUBJECT)]);
}

#[test]
fn responders_take_turns() {
    let mut world = World::new();
    let caller = world.open(1);
    let responders = [10, 11, 12].map(|slot| respond_to(&mut world, slot, "svc.>"));
    let special = respond_to(&mut world, 13, "svc.a");
    for nth in 0..8 {
        call(&mut world, caller, nth, "svc.a", &[nth as u8]);
    }
    for responder in responders.into_iter().chain([special]) {
        assert_eq!(calls(&mut world, responder).len(), 2);
    }
}

#[test]
fn a_responder_that_goes_fails_its_calls() {
    let mut world = World::new();
    let caller = world.open(1);
    let responder = respond_to(&mut world, 2, "svc.a");
    call(&mut world, caller, 1, "svc.a", b"");
    world.close(responder);
    world.settle();
    assert_eq!(world.got(caller), [error(1, ErrorCode::RESPONDER_GONE)]);
    call(&mut world, caller, 2, "svc.a", b"");
    assert_eq!(world.got(caller), [error(2, ErrorCode::NOBODY_LISTENS)]);

    let responder = respond_to(&mut world, 3, "svc.a");
    call(&mut world, caller, 3, "svc.a", b"");
    world
        .shard
        .unsubscribe(responder, 1, world.now, &mut world.out)
        .unwrap();
    world.settle();
    assert_eq!(world.got(caller), [error(3, ErrorCode::RESPONDER_GONE)]);
}

#[test]
fn a_call_times_out_and_its_late_answer_is_dropped() {
    let mut world = World::new();
    let caller = world.open(1);
    let responder = respond_to(&mut world, 2, "svc.a");
    call_within(&mut world, caller, 1, "svc.a", b"", 100);
    call_within(&mut world, caller, 2, "svc.a", b"", 300);
    let got = world.got(responder);
    assert!(matches!(
        got[0],
        Got::Call {
            timeout_ms: 100,
            ..
        }
    ));
    let correlation = match got[0] {
        Got::Call { correlation, .. } => correlation,
        _ => unreachable!(),
    };
    let turn = world.turn();
    assert_eq!(
        turn.next_deadline_ns,
        Some(world.now.mono_ns + 100 * crate::world::MS)
    );
    world.advance(99);
    world.settle();
    assert_eq!(world.got(caller), []);
    world.advance(1);
    world.settle();
    assert_eq!(world.got(caller), [error(1, ErrorCode::CALL_TIMED_OUT)]);
    answer(&mut world, responder, correlation, b"late");
    assert_eq!(world.got(caller), []);
    world.advance(200);
    world.settle();
    assert_eq!(world.got(caller), [error(2, ErrorCode::CALL_TIMED_OUT)]);
}

#[test]
fn a_caller_that_goes_leaves_nothing() {
    let mut world = World::new();
    let caller = world.open(1);
    let responder = respond_to(&mut world, 2, "svc.a");
    call(&mut world, caller, 1, "svc.a", b"");
    let got = calls(&mut world, responder);
    world.close(caller);
    answer(&mut world, responder, got[0].0, b"to nobody");
    let again = world.open(1);
    assert_eq!(world.got(again), []);
    world.advance(100_000);
    world.settle();
    assert_eq!(world.got(again), []);
}

#[test]
fn one_session_cannot_answer_for_another() {
    let mut world = World::new();
    let caller = world.open(1);
    let responder = respond_to(&mut world, 2, "svc.a");
    let stranger = world.open(3);
    call(&mut world, caller, 1, "svc.a", b"");
    let got = calls(&mut world, responder);
    answer(&mut world, stranger, got[0].0, b"false");
    assert_eq!(world.got(caller), []);
    answer(&mut world, responder, got[0].0, b"true");
    assert_eq!(world.got(caller).len(), 1);
}

#[test]
fn calls_are_bounded_on_both_sides() {
    let limits = Limits {
        session_calls: 3,
        call_bytes: 100,
        responder_bytes: 150,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let caller = world.open(1);
    let other = world.open(2);
    let responder = respond_to(&mut world, 3, "svc.a");
    call(&mut world, caller, 1, "svc.a", &[0; 101]);
    assert_eq!(world.got(caller), [error(1, ErrorCode::RECORD_TOO_LONG)]);
    call(&mut world, caller, 2, "svc.a", &[0; 100]);
    call(&mut world, caller, 3, "svc.a", &[0; 51]);
    assert_eq!(
        world.got(caller),
        [error(3, ErrorCode::TOO_MANY)],
        "the responder has bytes enough"
    );
    call(&mut world, caller, 4, "svc.a", &[0; 10]);
    call(&mut world, caller, 5, "svc.a", &[0; 10]);
    call(&mut world, caller, 6, "svc.a", &[0; 10]);
    assert_eq!(
        world.got(caller),
        [error(6, ErrorCode::TOO_MANY)],
        "the caller waits for three"
    );
    call(&mut world, other, 1, "svc.a", &[0; 10]);
    assert_eq!(
        world.got(other),
        [error(1, ErrorCode::TOO_MANY)],
        "the responder works on three"
    );
    let got = calls(&mut world, responder);
    answer(&mut world, responder, got[0].0, &[0; 101]);
    assert_eq!(world.got(caller), [error(2, ErrorCode::RECORD_TOO_LONG)]);
    call(&mut world, other, 2, "svc.a", &[0; 10]);
    assert_eq!(world.got(other), []);
}

#[test]
fn correlations_of_several_workers_on_one_connection_are_different() {
    for worker in 0..3_u8 {
        let mut world = World::with_config(ShardConfig {
            worker,
            workers: 3,
            ..ShardConfig::default()
        });
        let caller = world.open(1);
        let responder = respond_to(&mut world, 2, "svc.a");
        for nth in 0..200 {
            call(&mut world, caller, nth, "svc.a", b"");
            let got = calls(&mut world, responder);
            assert_eq!(got[0].0 % 3, u16::from(worker));
            answer(&mut world, responder, got[0].0, b"");
        }
    }
}
