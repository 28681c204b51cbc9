//! From numbers to scores.

use crate::package::Activation;

pub(super) fn apply(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::None => {}
        Activation::Softmax => softmax(values),
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = sigmoid(*value)),
    }
}

/// `1 / (1 + exp(-x))`; no input overflows to anything but 0 or 1.
pub(super) fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

/// `exp(x) / Σ exp(x)`, the largest subtracted first so that nothing overflows.
fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_do_not_overflow() {
        let mut values = [1e30, 1e30, -1e30];
        apply(Activation::Softmax, &mut values);
        assert_eq!(values[..], [0.5, 0.5, 0.0]);
        let mut values = [1e30, 0.0, -1e30];
        apply(Activation::Sigmoid, &mut values);
        assert_eq!(values[..], [1.0, 0.5, 0.0]);
    }
}
