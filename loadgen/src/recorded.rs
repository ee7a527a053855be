//! Histograms as they travel between processes: what was recorded how often.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tally::histogram;

/// Writes the values that were recorded and their counts.
pub(crate) fn serialize<S: Serializer>(
    histogram: &Histogram<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let recorded: Vec<(u64, u64)> = histogram
        .iter_recorded()
        .map(|step| (step.value_iterated_to(), step.count_at_value()))
        .collect();
    recorded.serialize(serializer)
}

/// Records the values again, as often.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Histogram<u64>, D::Error> {
    let mut histogram = histogram();
    for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
        histogram.saturating_record_n(value, count);
    }
    Ok(histogram)
}

/// The same for a point of a series.
pub(crate) mod point {
    use hdrhistogram::Histogram;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::series::histogram;

    /// Writes the values that were recorded and their counts, if there are any.
    pub(crate) fn serialize<S: Serializer>(
        histogram: &Option<Histogram<u32>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let recorded: Option<Vec<(u64, u32)>> = histogram.as_ref().map(|histogram| {
            let steps = histogram.iter_recorded();
            steps
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect()
        });
        recorded.serialize(serializer)
    }

    /// Records the values again, as often.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Histogram<u32>>, D::Error> {
        let Some(recorded) = Option::<Vec<(u64, u32)>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let mut histogram = histogram();
        for (value, count) in recorded {
            // It grows up to any value, or there is no memory for it.
            histogram
                .record_n(value, count)
                .map_err(serde::de::Error::custom)?;
        }
        Ok(Some(histogram))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Held(#[serde(with = "super")] Histogram<u64>);

    proptest! {
        #[test]
        fn a_histogram_arrives_as_it_was_sent(
            values in prop::collection::vec((0..4_000_000_000_000_u64, 1..1_000_u64), 0..100),
        ) {
            let mut sent = Held(histogram());
            for (value, count) in values {
                sent.0.saturating_record_n(value, count);
            }
            let text = serde_json::to_string(&sent).unwrap();
            let arrived: Held = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&arrived.0, &sent.0);
            prop_assert_eq!((arrived.0.min(), arrived.0.max()), (sent.0.min(), sent.0.max()));
        }
    }
}
