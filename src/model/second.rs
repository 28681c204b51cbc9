//! The same question put to another model: what this one was given, and what the answer of one with the same
//! inputs and outputs means.

use super::PredictError;
use super::translate::Translator;
use super::{Model, ModelError};
use crate::event::{Prediction, Tensor};
use crate::package::{Package, Task, TensorInfo};
use crate::pipeline::postprocess::{InterpretError, Interpreter};
use crate::pipeline::preprocess::Placement;

/// One input as the model was given it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The tensor, a batch of one.
    pub tensor: Tensor,
    pub(super) placement: Placement,
}

impl Prepared {
    /// What the meaning of an answer depends on besides the tensor: where in the source a picture was.
    pub fn placement_bytes(&self) -> Vec<u8> {
        self.placement.numbers().into_iter().flat_map(f32::to_le_bytes).collect()
    }
}

/// Gives the answers of a model like this one their meaning, and refuses what this one could not have said.
#[derive(Debug)]
pub struct Reader {
    interpreter: Interpreter,
    task: Task,
    input: String,
    outputs: Vec<TensorInfo>,
}

impl Reader {
    pub(super) fn new(package: &Package) -> Result<Self, ModelError> {
        let interpreter = Translator::new(package)?.into_interpreter();
        let signature = &package.signature;
        // That there is one is what the translator asks for.
        let input = signature.inputs.first().map(|info| info.name.clone()).unwrap_or_default();
        let mut outputs = signature.outputs.clone();
        if signature.is_batched() {
            // Asked is a batch of one, whatever else the model takes.
            outputs.iter_mut().filter_map(|info| info.shape.first_mut()).for_each(|n| *n = Some(1));
        }
        Ok(Self { interpreter, task: package.spec.task, input, outputs })
    }

    /// The name of the input.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The names of the outputs, in the order in which [`Reader::read`] wants them.
    pub fn outputs(&self) -> Vec<&str> {
        self.outputs.iter().map(|info| info.name.as_str()).collect()
    }

    /// What outputs mean that another model gave to the same input. They must be as this one declares its own.
    pub fn read(&self, input: &Prepared, outputs: &[Tensor]) -> Result<Prediction, PredictError> {
        for (info, tensor) in self.outputs.iter().zip(outputs) {
            let shape = tensor.shape();
            let fits = info.dtype == tensor.dtype()
                && info.shape.len() == shape.len()
                && info
                    .shape
                    .iter()
                    .zip(shape)
                    .all(|(want, is)| want.is_none_or(|want| want == *is));
            if !fits {
                return Err(PredictError::Interpret(InterpretError::Shape {
                    output: info.name.clone(),
                    found: format!("{} {shape:?}", tensor.dtype()),
                    wanted: format!("the model here has {}", declared(info)),
                }));
            }
        }
        let inputs = std::slice::from_ref(&input.tensor);
        Ok(self.interpreter.interpret(0, inputs, outputs, &input.placement)?)
    }

    /// Whether this model could have said it: its task, its labels, and numbers alone. An error says what is not so.
    pub fn check(&self, said: &Prediction) -> Result<(), String> {
        let task = task_of(said);
        if task != self.task {
            return Err(format!("it does {task:?}, the model here {:?}", self.task));
        }
        let labels = self.interpreter.labels();
        let unknown =
            |label: &str| !labels.is_empty() && labels.iter().all(|known| **known != *label);
        let most = self.interpreter.most();
        let (mut named, mut numbers) = (Vec::new(), Vec::new());
        match said {
            Prediction::Classification { label, score, scores } => {
                // Before each is looked for among them: an answer may hold very many.
                let (count, classes) = (scores.len(), labels.len());
                if classes > 0 && count > classes {
                    return Err(format!("it has {count} scores of {classes} classes"));
                }
                named.push(label);
                named.extend(scores.iter().map(|(label, _)| label));
                numbers.push(*score);
                numbers.extend(scores.iter().map(|(_, score)| *score));
                // A rule may ask for any of them, where the model here tells of all.
                let tells_all = most.is_none_or(|most| most >= classes);
                let missing = labels.iter().find(|l| scores.iter().all(|(told, _)| told != *l));
                if let Some(label) = missing.filter(|_| tells_all) {
                    return Err(format!("it has no score of `{label}`"));
                }
            }
            Prediction::Detection { detections } => {
                let count = detections.len();
                if let Some(most) = most.filter(|most| count > *most) {
                    return Err(format!(
                        "it has {count} detections, the model here at most {most}"
                    ));
                }
                for found in detections {
                    named.push(&found.label);
                    numbers.extend([found.score, found.x, found.y, found.w, found.h]);
                }
            }
            Prediction::Anomaly { score } => numbers.push(*score),
            Prediction::Regression { values }
            | Prediction::Embedding { values }
            | Prediction::Tensor { values, .. } => numbers.extend(values),
        }
        if let Some(label) = named.into_iter().find(|label| unknown(label)) {
            let label: String = label.chars().take(40).collect();
            return Err(format!("the model here knows no `{label}`"));
        }
        let finite = numbers.iter().all(|number| number.is_finite());
        finite.then_some(()).ok_or_else(|| "it holds a number that is not finite".to_owned())
    }
}

impl Model {
    /// Reads the answers of other models with the same inputs and outputs.
    pub fn reader(&self) -> Result<Reader, ModelError> {
        Reader::new(self.package())
    }
}

fn declared(info: &TensorInfo) -> String {
    let dims = info.shape.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |n| n.to_string()));
    format!("{} [{}]", info.dtype, dims.collect::<Vec<_>>().join(", "))
}

const fn task_of(prediction: &Prediction) -> Task {
    match prediction {
        Prediction::Classification { .. } => Task::Classification,
        Prediction::Detection { .. } => Task::Detection,
        Prediction::Anomaly { .. } => Task::Anomaly,
        Prediction::Regression { .. } => Task::Regression,
        Prediction::Embedding { .. } => Task::Embedding,
        Prediction::Tensor { .. } => Task::Tensor,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::{OrtConfig, Work};
    use crate::event::{Detection, Input, Order, Samples};
    use crate::model::{Models, ModelsConfig, Where};
    use crate::package::EngineChoice;

    fn bearing() -> std::sync::Arc<Model> {
        load(Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), "bearing")
    }

    fn load(dir: std::path::PathBuf, name: &str) -> std::sync::Arc<Model> {
        let (engine, ort) = (EngineChoice::Tract, OrtConfig::default());
        let models = Models::new(&ModelsConfig { dir, engine, ort, ..ModelsConfig::default() });
        models.load(&name.parse().expect("reference")).expect("model")
    }

    #[test]
    fn what_is_kept_of_a_batch_reads_as_the_answer_it_belongs_to() {
        let model = bearing();
        let (mut caller, reader) =
            (model.caller().expect("caller"), model.reader().expect("reader"));
        let input = |n: f32| {
            let values = (0..256 * 3).map(|i| (i as f32 * n).sin() * n).collect();
            Input::Samples(Samples { channels: 3, order: Order::Interleaved, values })
        };
        let inputs = [input(0.1), input(0.9), input(0.4)];
        let (mut answers, mut kept) = (Vec::new(), Vec::new());
        let run = caller.ready(&inputs, &mut answers);
        caller.start(run, Where::Here);
        caller.finish(&mut answers, |_| true, &mut kept);
        let places: Vec<_> = kept.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 1, 2]);
        for (answer, (_, prepared)) in answers.iter().zip(&kept) {
            let mut work = Work::new(vec![prepared.tensor.clone()]);
            model.port().infer(&mut work).expect("outputs");
            let again = reader.read(prepared, &work.outputs).expect("a meaning");
            let (
                Prediction::Classification { scores: a, .. },
                Ok(Prediction::Classification { scores: b, .. }),
            ) = (&again, answer)
            else {
                panic!("{again:?} {answer:?}")
            };
            assert!(a.iter().zip(b).all(|(a, b)| (a.1 - b.1).abs() < 1e-3), "{a:?} {b:?}");
            reader.check(&again).expect("it could have said that");
        }
    }

    /// The first of two was believed: whose answer that is, nobody knows.
    #[test]
    fn an_answer_to_more_than_the_one_input_is_refused() {
        let reader = bearing().reader().expect("reader");
        let tensor = Tensor::new(vec![1, 3, 256], vec![0.0_f32; 768]).expect("tensor");
        let prepared = Prepared { tensor, placement: Placement::NONE };
        let logits = |batch| Tensor::new(vec![batch, 4], vec![0.5_f32; batch * 4]).expect("tensor");
        reader.read(&prepared, &[logits(1)]).expect("one");
        reader.read(&prepared, &[logits(2)]).expect_err("two");
    }

    #[test]
    fn outputs_that_are_not_as_declared_are_refused() {
        let reader = bearing().reader().expect("reader");
        let tensor = Tensor::new(vec![1, 256, 3], vec![0.0_f32; 768]).expect("tensor");
        let prepared = Prepared { tensor, placement: Placement::NONE };
        assert_eq!(reader.outputs().len(), 1);
        for wrong in [
            Tensor::new(vec![1, 3], vec![0.0_f32; 3]).expect("tensor"),
            Tensor::new(vec![5], vec![0.0_f32; 5]).expect("tensor"),
            Tensor::new(vec![1, 5], vec![0.0_f64; 5]).expect("tensor"),
            Tensor::new(vec![1, 5], vec![f32::NAN; 5]).expect("tensor"),
            Tensor::new(vec![0, 5], Vec::<f32>::new()).expect("tensor"),
        ] {
            let found = reader.read(&prepared, std::slice::from_ref(&wrong));
            found.expect_err(&format!("{wrong:?}"));
        }
    }

    /// The shipped model, which tells of so many best classes alone.
    fn bearing_of(top_k: usize) -> (tempfile::TempDir, std::sync::Arc<Model>) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bearing/1");
        let models = tempfile::tempdir().expect("tempdir");
        let version = models.path().join("bearing/1");
        std::fs::create_dir_all(&version).expect("directory");
        for file in ["model.onnx", "labels.txt"] {
            std::fs::copy(shipped.join(file), version.join(file)).expect("copy");
        }
        let card = std::fs::read_to_string(shipped.join("model.toml")).expect("card");
        let output = "[output]\n";
        assert!(card.contains(output), "{card}");
        let card = card.replace(output, &format!("{output}top_k = {top_k}\n"));
        crate::disk::replace(&version.join("model.toml"), card.as_bytes()).expect("card");
        let model = load(models.path().to_owned(), "bearing");
        (models, model)
    }

    /// Every answer was refused for the scores that the model here does not tell either.
    #[test]
    fn a_model_that_tells_of_its_best_classes_alone_believes_an_answer() {
        let (_models, model) = bearing_of(2);
        let reader = model.reader().expect("reader");
        let tensor = Tensor::new(vec![1, 3, 256], vec![0.0_f32; 768]).expect("tensor");
        let prepared = Prepared { tensor, placement: Placement::NONE };
        let logits = Tensor::new(vec![1, 4], vec![0.0_f32, 6.0, 1.0, 2.0]).expect("tensor");
        let said = reader.read(&prepared, &[logits]).expect("a meaning");
        let Prediction::Classification { scores, .. } = &said else { panic!("{said:?}") };
        assert_eq!(scores.len(), 2);
        reader.check(&said).expect("it could have said that");
    }

    #[test]
    fn a_prediction_that_the_model_could_not_have_made_is_refused() {
        let reader = bearing().reader().expect("reader");
        let labels = reader.interpreter.labels().to_vec();
        let all = |score: f32| labels.iter().map(|l| (l.clone(), score)).collect::<Vec<_>>();
        let classified = |label: &str, score: f32, scores: Vec<_>| Prediction::Classification {
            label: label.into(),
            score,
            scores,
        };
        let first = &labels[0];
        reader.check(&classified(first, 0.2, all(0.2))).expect("right");
        let mut more = all(0.2);
        more.push(("else".into(), 0.1));
        let twice = [all(0.2), all(0.9)].concat();
        for (wrong, told) in [
            (Prediction::Anomaly { score: 0.5 }, "it does Anomaly"),
            (classified("else", 0.2, all(0.2)), "knows no `else`"),
            (classified(first, 0.2, more), "it has 5 scores of 4 classes"),
            (classified(first, 0.2, twice), "it has 8 scores of 4 classes"),
            (classified(first, 0.2, all(0.2)[1..].to_vec()), "it has no score of"),
            (classified(first, f32::INFINITY, all(0.2)), "not finite"),
        ] {
            let error = reader.check(&wrong).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
    /// Rules look at each with every other, and actions hand all of them on.
    #[test]
    fn more_detections_than_the_model_tells_of_are_refused() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let reader = load(models, "defects").reader().expect("reader");
        let one = Detection { label: "scratch".into(), score: 0.9, x: 1.0, y: 1.0, w: 2.0, h: 2.0 };
        let many = |count| Prediction::Detection { detections: vec![one.clone(); count] };
        reader.check(&many(100)).expect("as many as there may be");
        let error = reader.check(&many(101)).expect_err("one too many");
        assert!(error.contains("101 detections"), "{error}");
    }
}
