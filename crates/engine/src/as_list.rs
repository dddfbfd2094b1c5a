//! Maps whose keys are structs, on the wire: lists of pairs, because JSON's keys are texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.iter())
}

pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
}

/// Such a map that was asked for, and perhaps not answered.
pub(crate) mod seen {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};
    use crate::observe::Seen;

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        seen: &Seen<BTreeMap<K, V>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let list: Seen<Vec<(&K, &V)>> = match seen {
            Seen::At { value, asked_at } => Seen::At { value: value.iter().collect(), asked_at: *asked_at },
            Seen::NotAsked => Seen::NotAsked,
            Seen::NotReached(why) => Seen::NotReached(why.clone()),
        };
        list.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<Seen<BTreeMap<K, V>>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(match Seen::<Vec<(K, V)>>::deserialize(deserializer)? {
            Seen::At { value, asked_at } => Seen::At { value: value.into_iter().collect(), asked_at },
            Seen::NotAsked => Seen::NotAsked,
            Seen::NotReached(why) => Seen::NotReached(why),
        })
    }
}
