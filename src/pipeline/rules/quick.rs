//! The comparisons that most rules are made of, without the interpreter: `score > 0.8 && label != 'healthy'`.
//!
//! Whatever is not of this kind, and whatever would be an error, is left to the interpreter, so that a rule means the
//! same either way.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::facts::Facts;
use crate::event::Prediction;

/// An expression that needs no interpreter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Quick {
    Compare(Number, Order, f64),
    /// A text is this one, or is not.
    Text(Text, bool, String),
    All(Box<[Self; 2]>),
    Any(Box<[Self; 2]>),
    Not(Box<Self>),
}

/// A number of the prediction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    Score,
    /// `scores['label']`
    ScoreOf(String),
    /// `values[0]`
    Value(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Text {
    Label,
    Stream,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Quick {
    /// `None`: it is for the interpreter.
    pub(super) fn of(part: &IdedExpr) -> Option<Self> {
        let Expr::Call(CallExpr { func_name, target: None, args }) = &part.expr else {
            return None;
        };
        match (func_name.as_str(), args.as_slice()) {
            (operators::LOGICAL_NOT, [part]) => Some(Self::Not(Self::of(part)?.into())),
            (operators::LOGICAL_AND, [a, b]) => {
                Some(Self::All([Self::of(a)?, Self::of(b)?].into()))
            }
            (operators::LOGICAL_OR, [a, b]) => Some(Self::Any([Self::of(a)?, Self::of(b)?].into())),
            (operators::EQUALS, [text, with]) => Self::text(text, true, with),
            (operators::NOT_EQUALS, [text, with]) => Self::text(text, false, with),
            (operator, [number, with]) => {
                let order = match operator {
                    operators::LESS => Order::Less,
                    operators::LESS_EQUALS => Order::AtMost,
                    operators::GREATER => Order::Greater,
                    operators::GREATER_EQUALS => Order::AtLeast,
                    _ => return None,
                };
                let Expr::Literal(LiteralValue::Double(with)) = &with.expr else { return None };
                Some(Self::Compare(Number::of(number)?, order, *with.inner()))
            }
            _ => None,
        }
    }

    fn text(text: &IdedExpr, is: bool, with: &IdedExpr) -> Option<Self> {
        let text = match &text.expr {
            Expr::Ident(name) if name == "label" => Text::Label,
            Expr::Ident(name) if name == "stream" => Text::Stream,
            _ => return None,
        };
        Some(Self::Text(text, is, literal(with)?.to_owned()))
    }

    /// `None`: the interpreter is to be asked, which may say that it is an error.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        match self {
            Self::Compare(number, order, with) => {
                let ordering = f64::from(number.read(facts.prediction)?).partial_cmp(with)?;
                Some(match order {
                    Order::Less => ordering.is_lt(),
                    Order::AtMost => ordering.is_le(),
                    Order::Greater => ordering.is_gt(),
                    Order::AtLeast => ordering.is_ge(),
                })
            }
            Self::Text(text, is, with) => {
                let found = match (text, facts.prediction) {
                    (Text::Stream, _) => facts.stream.as_str(),
                    (Text::Label, Prediction::Classification { label, .. }) => label,
                    (Text::Label, _) => return None,
                };
                Some((found == with) == *is)
            }
            Self::All(both) => Some(both[0].holds(facts)? && both[1].holds(facts)?),
            Self::Any(both) => Some(both[0].holds(facts)? || both[1].holds(facts)?),
            Self::Not(part) => Some(!part.holds(facts)?),
        }
    }
}

impl Number {
    fn of(part: &IdedExpr) -> Option<Self> {
        match &part.expr {
            Expr::Ident(name) => (name == "score").then_some(Self::Score),
            Expr::Call(CallExpr { func_name, target: None, args })
                if func_name == operators::INDEX =>
            {
                let [whole, index] = args.as_slice() else { return None };
                let Expr::Ident(whole) = &whole.expr else { return None };
                match (whole.as_str(), &index.expr) {
                    ("scores", _) => Some(Self::ScoreOf(literal(index)?.to_owned())),
                    ("values", Expr::Literal(LiteralValue::Int(at))) => {
                        Some(Self::Value(usize::try_from(*at.inner()).ok()?))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn read(&self, prediction: &Prediction) -> Option<f32> {
        match (self, prediction) {
            (
                Self::Score,
                Prediction::Classification { score, .. } | Prediction::Anomaly { score },
            ) => Some(*score),
            (Self::ScoreOf(label), Prediction::Classification { scores, .. }) => {
                scores.iter().find(|(of, _)| **of == **label).map(|(_, score)| *score)
            }
            (
                Self::Value(at),
                Prediction::Regression { values }
                | Prediction::Embedding { values }
                | Prediction::Tensor { values, .. },
            ) => values.get(*at).copied(),
            _ => None,
        }
    }
}

fn literal(part: &IdedExpr) -> Option<&str> {
    let Expr::Literal(LiteralValue::String(text)) = &part.expr else { return None };
    Some(text.inner())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cel::{Context, Env, Program};
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::facts::View;
    use super::super::interpret;
    use super::*;
    use crate::event::{Device, StreamKey, Topic};

    fn program(source: &str) -> Program {
        Arc::new(Env::stdlib()).compile(source).expect("an expression")
    }

    fn both(
        source: &str,
        prediction: &Prediction,
        stream: &str,
    ) -> (Option<bool>, Result<bool, String>) {
        let name = "m".parse().expect("a name");
        let device = Device { id: "d".parse().expect("a name"), labels: [].into() };
        let facts = Facts {
            prediction,
            stream: &StreamKey::new(stream),
            topic: &Topic::new("t"),
            device: &device,
            now: Timestamp::UNIX_EPOCH,
            model: &name,
            version: 1,
        };
        let program = program(source);
        let quick = Quick::of(program.expression()).and_then(|quick| quick.holds(&facts));
        let env = Arc::new(Env::stdlib());
        let view = View::new(&facts);
        let mut context = Context::with_env(env);
        context.set_variable_resolver(&view);
        (quick, interpret(&program, &context))
    }

    #[test]
    fn what_most_rules_are_needs_no_interpreter() {
        for source in [
            "score > 0.8",
            "scores['healthy'] < 0.2",
            "values[3] >= 1.5 && values[0] <= 2.0",
            "!(label == 'a' || stream != 'b')",
        ] {
            assert!(Quick::of(program(source).expression()).is_some(), "{source}");
        }
        for source in
            ["true", "score > 1", "score + 1.0 > 2.0", "size(values) > 3", "label.size() > 1"]
        {
            assert!(Quick::of(program(source).expression()).is_none(), "{source}");
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            Just("score".to_owned()),
            "[abc]".prop_map(|label| format!("scores['{label}']")),
            (0..4).prop_map(|at| format!("values[{at}]")),
        ];
        let levels = prop::sample::select(vec!["0.0", "0.25", "0.5", "-0.5", "1e3"]);
        let compare = (number, prop::sample::select(vec!["<", "<=", ">", ">="]), levels)
            .prop_map(|(number, order, level)| format!("{number} {order} {level}"));
        let texts = (prop::sample::select(vec!["label", "stream"]), "==|!=", "[abc]");
        let text = texts.prop_map(|(text, is, with)| format!("{text} {is} '{with}'"));
        prop_oneof![compare, text].prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                (inner.clone(), prop::sample::select(vec!["&&", "||"]), inner.clone())
                    .prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})")),
                inner.prop_map(|part| format!("!({part})")),
            ]
        })
    }

    fn prediction() -> impl Strategy<Value = Prediction> {
        let level =
            prop::sample::select(vec![0.0_f32, 0.25, 0.5, -0.5, 7.0, f32::NAN, f32::INFINITY]);
        let scores = prop::collection::vec(("[abc]".prop_map(Arc::from), level.clone()), 0..3);
        prop_oneof![
            ("[abc]", level.clone(), scores).prop_map(|(label, score, scores)| {
                Prediction::Classification { label: label.into(), score, scores }
            }),
            level.clone().prop_map(|score| Prediction::Anomaly { score }),
            prop::collection::vec(level, 0..4).prop_map(|values| Prediction::Regression { values }),
        ]
    }

    proptest! {
        #[test]
        fn the_interpreter_says_the_same(
            source in expression(),
            prediction in prediction(),
            stream in "[abc]",
        ) {
            if let (Some(quick), interpreted) = both(&source, &prediction, &stream) {
                prop_assert_eq!(Ok(quick), interpreted, "{}", source);
            }
        }
    }
}
