//! tract: the engine that is always there.

mod passes;

use std::fmt;

use half::f16;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, TVec,
    Tensor as TractTensor, TypedSimpleState,
};

use super::{
    Engine, EngineError, EngineKind, Form, Session, SessionOptions, check_inputs, doubt, guard,
    qdq, sentence::sentence,
};
use crate::event::{DType, Data, Element, Tensor};
use crate::package::{Package, TensorInfo, decode};

const KIND: EngineKind = EngineKind::Tract;
/// As Cargo.toml pins it.
const VERSION: &str = "0.23.9";
/// The set that the newest operator in its registry, `Swish`, came with.
const HIGHEST_OPSET: i64 = 24;
/// Plans for shapes that the model leaves open; the first one made stays.
const MAX_PLANS: usize = 4;

/// tract, which runs a quantized model as it is stored or in its float form.
#[derive(Debug, Clone, Copy)]
pub struct Tract {
    form: Form,
}

impl Tract {
    /// An engine that runs models in one form.
    pub const fn new(form: Form) -> Self {
        Self { form }
    }
}

impl Engine for Tract {
    fn kind(&self) -> EngineKind {
        KIND
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn form(&self) -> Form {
        self.form
    }

    fn load(
        &self,
        package: &Package,
        _options: SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let opset = package.signature.opset();
        let refused = |reason: String| EngineError::Load { engine: KIND, opset, reason };
        if opset > HIGHEST_OPSET {
            let (version, highest) = (VERSION.to_owned(), HIGHEST_OPSET);
            return Err(EngineError::Opset { engine: KIND, version, opset, highest });
        }
        let signature = &package.signature;
        let mut ends = signature.inputs.iter().chain(&signature.outputs);
        if let Some(end) = ends.find(|end| end.dtype == DType::String) {
            return Err(refused(format!("`{}` holds texts, which tract does not know", end.name)));
        }
        let mut proto = decode(&package.model_bytes()?).map_err(refused)?;
        if self.form == Form::Float && qdq::fold(&mut proto) == 0 {
            return Err(EngineError::NothingToFold);
        }
        let doubt = proto.graph.as_ref().and_then(doubt::doubt);
        guard(KIND, || {
            let model = parse(&proto, package)?;
            drop(proto);
            let mut running = Running {
                model: Some(model),
                inputs: signature.inputs.clone(),
                batched: signature.is_batched(),
                plans: Vec::new(),
                item: Vec::new(),
                results: Vec::new(),
                doubt,
            };
            // What is open is taken to be 1: a model that cannot be planned is refused now.
            let shapes: Vec<Vec<usize>> = running
                .inputs
                .iter()
                .map(|info| info.shape.iter().map(|dim| dim.unwrap_or(1)).collect())
                .collect();
            let planned = running.plan(&shapes);
            let fixed = usize::from(running.batched);
            if running.inputs.iter().any(|info| info.shape.iter().skip(fixed).any(Option::is_none))
            {
                // Another size of what is open may do where this one does not.
                return Ok(Box::new(running) as _);
            }
            // The one plan is all that will ever be needed; the weights need not be kept twice.
            running.model = None;
            planned.map(|()| Box::new(running) as _).map_err(refused)
        })
    }
}

fn parse(proto: &ModelProto, package: &Package) -> Result<InferenceModel, EngineError> {
    let opset = package.signature.opset();
    let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let known = &onnx.op_register.0;
    for (domain, operator) in &package.signature.operators {
        if !known.contains_key(operator) {
            return Err(EngineError::operator(KIND, domain, operator, &package.signature));
        }
    }
    onnx.model_for_proto_model(proto).map_err(|error| EngineError::Load {
        engine: KIND,
        opset,
        reason: short(&error),
    })
}

struct Running {
    /// What further plans are made from; nothing if there will be none.
    model: Option<InferenceModel>,
    inputs: Vec<TensorInfo>,
    batched: bool,
    plans: Vec<Plan>,
    item: Vec<Tensor>,
    results: Vec<Tensor>,
    doubt: Option<String>,
}

struct Plan {
    shapes: Vec<Vec<usize>>,
    state: TypedSimpleState,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("tract::Running").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}

impl Session for Running {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError> {
        check_inputs(&self.inputs, inputs)?;
        guard(KIND, || {
            let batch = inputs.first().and_then(|t| t.shape().first().copied()).unwrap_or(1);
            if self.batched && batch > 1 {
                self.run_items(batch, inputs, outputs)
            } else {
                self.run_once(inputs, outputs)
            }
        })
    }

    fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }
}

impl Running {
    /// A plan for one item serves every batch: tract computes a batch no faster than its items, and
    /// a plan per size would cost tens of milliseconds each.
    fn run_items(
        &mut self,
        batch: usize,
        inputs: &[Tensor],
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), EngineError> {
        let mut item = std::mem::take(&mut self.item);
        let mut results = std::mem::take(&mut self.results);
        item.resize_with(inputs.len(), Tensor::default);
        let mut ran = Ok(());
        for index in 0..batch {
            ran = item
                .iter_mut()
                .zip(inputs)
                .try_for_each(|(item, whole)| slice(whole, index, batch, item))
                .and_then(|()| self.run_once(&item, &mut results))
                .and_then(|()| gather(&results, index, batch, outputs));
            if ran.is_err() {
                break;
            }
        }
        self.item = item;
        self.results = results;
        ran
    }

    fn run_once(
        &mut self,
        inputs: &[Tensor],
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), EngineError> {
        let found = self.plans.iter().position(|plan| {
            plan.shapes.iter().zip(inputs).all(|(shape, input)| shape == input.shape())
        });
        let index = if let Some(index) = found {
            index
        } else {
            let shapes: Vec<_> = inputs.iter().map(|input| input.shape().to_vec()).collect();
            if self.model.is_none() {
                let (found, wanted) = (format!("{shapes:?}"), "at least one item".into());
                return Err(EngineError::Input { name: "all".into(), found, wanted });
            }
            self.plan(&shapes).map_err(failed)?;
            self.plans.len() - 1
        };
        let values: Result<TVec<_>, _> =
            inputs.iter().map(|input| export(input).map(Into::into)).collect();
        let state = &mut self.plans[index].state;
        let results = match state.run(values.map_err(failed)?) {
            Ok(results) => results,
            Err(error) => {
                // What was computed so far must not be taken for a part of the next run.
                let _reset = state.reset_turn();
                return Err(failed(short(&error)));
            }
        };
        outputs.resize_with(results.len(), Tensor::default);
        for (slot, value) in outputs.iter_mut().zip(&results) {
            import(value, slot).map_err(failed)?;
        }
        Ok(())
    }

    fn plan(&mut self, shapes: &[Vec<usize>]) -> Result<(), String> {
        let mut model = self.model.clone().ok_or("it is planned already")?;
        for (index, (info, shape)) in self.inputs.iter().zip(shapes).enumerate() {
            let fact = InferenceFact::dt_shape(datum_type(info.dtype), shape);
            model.set_input_fact(index, fact).map_err(|error| short(&error))?;
        }
        let state = model
            .into_typed()
            .and_then(passes::optimized)
            .and_then(IntoRunnable::into_runnable)
            .and_then(|plan| plan.spawn())
            .map_err(|error| short(&error))?;
        if self.plans.len() >= MAX_PLANS {
            self.plans.remove(1);
        }
        self.plans.push(Plan { shapes: shapes.to_vec(), state });
        Ok(())
    }
}

macro_rules! by_type {
    ($($variant:ident $type:ty;)*) => {
        fn datum_type(dtype: DType) -> DatumType {
            match dtype {
                $(DType::$variant => DatumType::$variant,)*
                // `load` refuses it.
                DType::String => DatumType::String,
            }
        }

        fn export(tensor: &Tensor) -> Result<TractTensor, String> {
            match tensor.data() {
                $(Data::$variant(values) => TractTensor::from_shape(tensor.shape(), values),)*
                Data::String(_) => return Err("texts are not known".to_owned()),
            }
            .map_err(|error| short(&error))
        }

        fn import(value: &TractTensor, slot: &mut Tensor) -> Result<(), String> {
            // Dimensions are numbers to tract; ONNX has them as i64.
            if value.datum_type() == DatumType::TDim {
                let value = value.cast_to_dt(DatumType::I64).map_err(|error| short(&error))?;
                return import(&value, slot);
            }
            match value.datum_type().unquantized() {
                $(DatumType::$variant => copy::<$type>(value, slot),)*
                other => Err(format!("an output has elements of type {other:?}")),
            }
        }

        /// Item `index` of a tensor whose first dimension is the batch.
        fn slice(
            whole: &Tensor, index: usize, batch: usize, item: &mut Tensor,
        ) -> Result<(), EngineError> {
            let mut shape = whole.shape().to_vec();
            if shape.first() != Some(&batch) {
                return Err(failed(format!("a batch of {batch} has an input of shape {shape:?}")));
            }
            shape[0] = 1;
            match whole.data() {$(
                Data::$variant(values) => {
                    let size = values.len() / batch;
                    item.assign(&shape, &values[index * size..][..size])
                }
            )*
                Data::String(_) => return Err(failed("texts are not known".to_owned())),
            }
            .map_err(|error| failed(error.to_string()))
        }

        /// Puts the results of item `index` into their place in the outputs of the batch.
        fn gather(
            results: &[Tensor], index: usize, batch: usize, outputs: &mut Vec<Tensor>,
        ) -> Result<(), EngineError> {
            outputs.resize_with(results.len(), Tensor::default);
            for (result, slot) in results.iter().zip(outputs) {
                let mut shape = result.shape().to_vec();
                if shape.first() != Some(&1) {
                    return Err(failed(format!("an item has an output of shape {shape:?}")));
                }
                shape[0] = index + 1;
                match result.data() {$(
                    Data::$variant(values) => {
                        // The memory moves out and back in, so that it only grows.
                        let (_, data) = std::mem::take(slot).into_parts();
                        let mut all = match data {
                            Data::$variant(mut all) => {
                                all.truncate(index * values.len());
                                all
                            }
                            _ => Vec::with_capacity(batch * values.len()),
                        };
                        all.extend_from_slice(values);
                        *slot = Tensor::new(shape, all).map_err(|error| failed(error.to_string()))?;
                    }
                )*
                    Data::String(_) => return Err(failed("texts are not known".to_owned())),
                }
            }
            Ok(())
        }
    };
}

by_type! {
    Bool bool; U8 u8; I8 i8; U16 u16; I16 i16; U32 u32; I32 i32; U64 u64; I64 i64; F16 f16; F32 f32;
    F64 f64;
}

fn copy<T: Element + tract_onnx::prelude::Datum>(
    value: &TractTensor,
    slot: &mut Tensor,
) -> Result<(), String> {
    let view = value.try_as_plain_ram().map_err(|error| short(&error))?;
    let values = view.as_slice::<T>().map_err(|error| short(&error))?;
    slot.assign(value.shape(), values).map_err(|error| error.to_string())
}

fn failed(reason: String) -> EngineError {
    EngineError::Run { engine: KIND, reason }
}

/// The cause, which is the last in the chain of reasons.
fn short(error: &tract_onnx::prelude::TractError) -> String {
    sentence(&error.root_cause().to_string())
}
