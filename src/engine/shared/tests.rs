use super::instance::Health;
use super::*;
use crate::engine::EngineKind;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Gives its inputs back, or fails where a number among them is below 0. Notes how many items each run had; where it has
/// barriers, a run waits at both.
#[derive(Debug, Default, Clone)]
struct Echo {
    gates: Option<Arc<Barrier>>,
    runs: Arc<Mutex<Vec<usize>>>,
}

impl Session for Echo {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError> {
        lock(&self.runs).push(inputs[0].shape()[0]);
        if let Some(gate) = &self.gates {
            gate.wait();
            gate.wait();
        }
        if inputs[0].as_f32().expect("f32").iter().any(|value| *value < 0.0) {
            return Err(EngineError::Run { engine: EngineKind::Ort, reason: "told to".into() });
        }
        outputs.clear();
        outputs.extend_from_slice(inputs);
        Ok(())
    }
}

impl Echo {
    fn gated() -> (Self, Arc<Barrier>) {
        let gate = Arc::new(Barrier::new(2));
        (Self { gates: Some(Arc::clone(&gate)), ..Self::default() }, gate)
    }
}

fn some(values: &[f32]) -> Work {
    Work::new(vec![Tensor::new(vec![values.len(), 1], values.to_vec()).expect("tensor")])
}

fn share(terms: Terms, session: impl Session + 'static) -> Shared {
    Shared::new(terms, vec![Box::new(session)], Box::new(|_| None))
}

fn answer(port: &Port, values: &[f32]) -> Result<Vec<f32>, InferError> {
    let mut work = some(values);
    port.infer(&mut work)?;
    assert_eq!(work.inputs, some(values).inputs, "they come back");
    Ok(work.outputs[0].as_f32().expect("f32").to_vec())
}

fn later(port: &Port, values: &[f32]) -> Turn {
    match port.enter(&mut some(values)) {
        Ok(Entry::Later(turn)) => turn,
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn outputs_arrive_until_the_session_is_unloaded() {
    let shared = share(Terms::alone(4), Echo::default());
    let port = shared.port(Priority::Pipeline);
    for _ in 0..100 {
        assert_eq!(answer(&port, &[3.0]).expect("answer"), [3.0]);
    }
    drop(shared);
    assert!(matches!(answer(&port, &[3.0]), Err(InferError::Stopped)));
}

#[test]
fn one_too_many_is_refused_and_gets_its_work_back() {
    let (echo, gate) = Echo::gated();
    let shared = share(Terms::alone(1), echo);
    let call = || {
        let port = shared.port(Priority::Client);
        thread::spawn(move || answer(&port, &[1.0]).is_ok())
    };
    let first = call();
    gate.wait(); // the first is being run, nobody waits
    let second = call();
    while shared.waiting() < 1 {
        thread::yield_now();
    }
    let mut third = some(&[7.0]);
    let refused = shared.port(Priority::Client).infer(&mut third);
    assert!(matches!(refused, Err(InferError::Overloaded(1))));
    assert_eq!(third.inputs, some(&[7.0]).inputs);
    gate.wait();
    gate.wait();
    gate.wait();
    assert!(first.join().expect("first") && second.join().expect("second"));
}

/// Counts those who run it at once.
#[derive(Debug)]
struct Lonely(Arc<AtomicU32>);

impl Session for Lonely {
    fn run(&mut self, _: &[Tensor], _: &mut Vec<Tensor>) -> Result<(), EngineError> {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "another runs it");
        thread::yield_now();
        self.0.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn callers_take_turns_and_none_is_left_waiting() {
    let shared = share(Terms::alone(8), Lonely(Arc::default()));
    let ports: Vec<_> = (0..8).map(|_| shared.port(Priority::Pipeline)).collect();
    thread::scope(|scope| {
        for port in ports {
            scope.spawn(move || {
                for _ in 0..500 {
                    port.infer(&mut Work::default()).expect("turn");
                }
            });
        }
    });
    assert_eq!(shared.waiting(), 0);
}

#[test]
fn two_instances_run_at_the_same_time() {
    let (echo, gate) = Echo::gated();
    let sessions: Vec<Box<dyn Session>> = vec![Box::new(echo.clone()), Box::new(echo)];
    let shared = Shared::new(Terms::alone(1), sessions, Box::new(|_| None));
    let call = || {
        let port = shared.port(Priority::Client);
        thread::spawn(move || answer(&port, &[1.0]).is_ok())
    };
    // Each is the other's second at the barrier: one alone would stand there for ever.
    drop(gate);
    let both = [call(), call()];
    assert!(both.into_iter().all(|one| one.join().expect("an end")));
}

#[test]
fn who_waits_goes_along_in_one_batch_pipelines_first() {
    let echo = Echo::default();
    let runs = Arc::clone(&echo.runs);
    let shared = share(Terms { max_batch: 4, ..Terms::alone(8) }, echo);
    let (client, pipeline) = (shared.port(Priority::Client), shared.port(Priority::Pipeline));
    let Ok(Entry::Now(lease)) = client.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let clients = [later(&client, &[2.0]), later(&client, &[3.0, 4.0])];
    let pipelines = [later(&pipeline, &[5.0, 6.0])];
    let (work, ran) = lease.run();
    let ran = ran.expect("run");
    assert_eq!((ran.batch, ran.led), (4, true));
    assert_eq!(work.outputs, some(&[1.0]).inputs);
    // 1 and the pipeline's two and the first client's one; the last ones come next.
    let mut done = Vec::new();
    for turn in pipelines.into_iter().chain(clients) {
        match wait(turn) {
            Step::Done(work, ran) => {
                assert!(!ran.expect("run").led);
                assert_eq!(work.outputs, work.inputs);
                done.push(work.items());
            }
            Step::Lead(lease) => {
                let (work, ran) = lease.run();
                assert_eq!((ran.expect("run").batch, work.outputs == work.inputs), (2, true));
            }
        }
    }
    assert_eq!(done, [2, 1]);
    assert_eq!(*lock(&runs), [4, 2]);
}

#[test]
fn a_run_waits_for_others_as_long_as_it_is_told() {
    let echo = Echo::default();
    let runs = Arc::clone(&echo.runs);
    let terms = Terms { max_batch: 2, max_delay: Duration::from_mins(10), queue: 8 };
    let shared = share(terms, echo);
    let ports = [shared.port(Priority::Client), shared.port(Priority::Client)];
    let both = ports.map(|port| thread::spawn(move || answer(&port, &[1.0]).expect("answer")));
    assert!(both.into_iter().all(|one| one.join().expect("an end") == [1.0]));
    assert_eq!(*lock(&runs), [2]);
}

#[test]
fn one_bad_input_in_a_batch_fails_alone() {
    let shared = share(Terms { max_batch: 4, ..Terms::alone(8) }, Echo::default());
    let port = shared.port(Priority::Client);
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let (bad, good) = (later(&port, &[-1.0]), later(&port, &[2.0]));
    assert!(lease.run().1.is_ok());
    assert!(matches!(wait(bad), Step::Done(_, Err(InferError::Engine(_)))));
    let Step::Done(work, Ok(_)) = wait(good) else { panic!("it is good") };
    assert_eq!(work.outputs, some(&[2.0]).inputs);
}

#[test]
fn what_has_another_form_is_not_mixed_in() {
    let echo = Echo::default();
    let runs = Arc::clone(&echo.runs);
    let shared = share(Terms { max_batch: 8, ..Terms::alone(8) }, echo);
    let port = shared.port(Priority::Client);
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let mut wide = Work::new(vec![Tensor::new(vec![1, 2], vec![1.0_f32; 2]).expect("tensor")]);
    let Ok(Entry::Later(other)) = port.enter(&mut wide) else { panic!("it is not idle") };
    assert!(lease.run().1.is_ok());
    let Step::Lead(lease) = wait(other) else { panic!("it went along") };
    assert!(lease.run().1.is_ok());
    assert_eq!(*lock(&runs), [1, 1]);
}

#[test]
fn who_leaves_the_queue_is_not_run() {
    let echo = Echo::default();
    let runs = Arc::clone(&echo.runs);
    let shared = share(Terms::alone(3), echo);
    let (client, pipeline) = (shared.port(Priority::Client), shared.port(Priority::Pipeline));
    let Ok(Entry::Now(lease)) = client.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let (gone, stays) = (later(&client, &[2.0; 2]), later(&pipeline, &[3.0; 3]));
    let next = later(&pipeline, &[4.0; 4]);
    drop(gone);
    assert_eq!(shared.waiting(), 2);
    assert!(lease.run().1.is_ok());
    // The instance has come to one who leaves: it goes on to the next.
    drop(stays);
    let Step::Lead(lease) = wait(next) else { panic!("it is its turn") };
    drop(lease);
    assert_eq!(answer(&client, &[5.0; 5]).expect("idle again"), [5.0; 5]);
    assert_eq!(*lock(&runs), [1, 5]);
}

#[test]
fn who_comes_first_takes_what_is_idle_until_somebody_has_waited_too_long() {
    let shared = share(Terms::alone(8), Echo::default());
    let port = shared.port(Priority::Client);
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let patient = later(&port, &[2.0]);
    assert!(lease.run().1.is_ok());
    assert_eq!(answer(&port, &[3.0]).expect("it is idle"), [3.0]);
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[4.0])) else { panic!("it is idle") };
    thread::park_timeout(Duration::from_millis(20));
    drop(lease);
    assert!(matches!(port.enter(&mut some(&[5.0])), Ok(Entry::Later(_))), "it is kept now");
    let Step::Lead(lease) = wait(patient) else { panic!("it is its turn") };
    assert!(lease.run().1.is_ok());
}

#[test]
fn a_client_that_was_called_and_leaves_calls_the_next() {
    let shared = share(Terms::alone(8), Echo::default());
    let port = shared.port(Priority::Client);
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let (first, second) = (later(&port, &[2.0]), later(&port, &[3.0]));
    let waits = thread::spawn(move || matches!(wait(second), Step::Lead(_)));
    drop(lease);
    drop(first);
    assert!(waits.join().expect("an end"));
    // Unloaded with one on its way: that one is served, and the sessions go after it.
    let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
    let last = later(&port, &[4.0]);
    drop(lease);
    drop(shared);
    let Step::Lead(lease) = wait(last) else { panic!("it is its turn") };
    assert!(lease.run().1.is_ok());
    assert!(matches!(port.enter(&mut some(&[1.0])), Err(InferError::Stopped)));
}

#[derive(Debug)]
struct Bomb;

impl Session for Bomb {
    fn run(&mut self, _: &[Tensor], _: &mut Vec<Tensor>) -> Result<(), EngineError> {
        panic!("boom")
    }
}

#[test]
fn a_turn_passes_on_when_a_caller_dies_in_it() {
    let shared = share(Terms { max_batch: 2, ..Terms::alone(2) }, Bomb);
    let port = shared.port(Priority::Pipeline);
    for _ in 0..3 {
        let Ok(Entry::Now(lease)) = port.enter(&mut some(&[1.0])) else { panic!("it is idle") };
        let companion = later(&port, &[1.0]);
        assert!(thread::spawn(move || lease.run().1.is_ok()).join().is_err());
        assert!(matches!(wait(companion), Step::Done(_, Err(InferError::Stopped))));
    }
    assert_eq!(shared.waiting(), 0);
}

#[test]
fn a_session_that_keeps_failing_is_rebuilt() {
    let rebuilt = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&rebuilt);
    let rebuild = Box::new(move |_: Condition<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        Some(Box::<Echo>::default() as Box<dyn Session>)
    });
    let shared = Shared::new(Terms::alone(1), vec![Box::<Echo>::default()], rebuild);
    let port = shared.port(Priority::Pipeline);
    let run = |value: f32| answer(&port, &[value]).is_ok();
    assert_eq!([-1.0, -1.0, 1.0, -1.0, -1.0].map(run), [false, false, true, false, false]);
    assert_eq!(rebuilt.load(Ordering::Relaxed), 0, "a success in between");
    assert!(!run(-1.0));
    assert_eq!(rebuilt.load(Ordering::Relaxed), 1);
    assert!(run(1.0));
}

#[test]
fn what_cannot_be_mended_is_tried_ever_less_often() {
    let mut health = Health::default();
    let mut tries = Vec::new();
    for failure in 1..=100 {
        if health.failed(failure == 2 || failure == 20) {
            tries.push(failure);
            health.gave_up();
        }
    }
    assert_eq!(tries, [2, 6, 12, 24, 48, 96], "at once after the first panic, not after each");
}

#[test]
fn who_gathers_is_run_with_all_who_came_meanwhile() {
    let echo = Echo::default();
    let runs = Arc::clone(&echo.runs);
    let shared = share(Terms { max_batch: 8, ..Terms::alone(3) }, echo);
    let port = shared.port(Priority::Client);
    let gather = |values: &[f32]| match port.gather(&mut some(values)) {
        Ok(Entry::Later(turn)) => turn,
        other => panic!("it does not gather: {other:?}"),
    };
    let turns = [gather(&[1.0]), gather(&[2.0]), gather(&[3.0])];
    // There are no more places, yet the instance is idle: nobody is refused.
    let Ok(Entry::Now(lease)) = port.gather(&mut some(&[4.0])) else { panic!("it is idle") };
    let (work, ran) = lease.run();
    assert_eq!(work.outputs, some(&[4.0]).inputs);
    assert_eq!(ran.expect("run").batch, 4);
    for (turn, value) in turns.into_iter().zip([1.0, 2.0, 3.0]) {
        let Step::Done(work, Ok(_)) = wait(turn) else { panic!("it was not run") };
        assert_eq!(work.outputs, some(&[value]).inputs);
    }
    let alone = gather(&[5.0]);
    drop(gather(&[6.0]));
    let Step::Lead(lease) = wait(alone) else { panic!("the instance is idle") };
    assert_eq!(lease.run().1.expect("run").batch, 1, "nobody runs what nobody waits for");
    assert_eq!(*lock(&runs), [4, 1]);
}
