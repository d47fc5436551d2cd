//! Settings of a network device that `ethtool` can change, as the words that the kernel keeps them in.

use std::io;

use serde::{Deserialize, Serialize};

use crate::link::Difference;

/// Settings of a network device; those that its driver does not have are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EthtoolSettings {
    /// Features that were requested, 32 in a word.
    pub features: Option<Vec<u32>>,
    /// Private flags of the driver.
    pub private_flags: Option<Vec<u32>>,
    /// Number of channels of each kind.
    pub channels: Option<Vec<u32>>,
    /// Sizes of the rings.
    pub rings: Option<Vec<u32>>,
    /// Interrupt coalescing.
    pub coalescing: Option<Vec<u32>>,
    /// Flow control.
    pub pause: Option<Vec<u32>>,
    /// Number of rules that steer or drop received frames.
    pub rules: Option<Vec<u32>>,
}

// ETHTOOL_*, include/uapi/linux/ethtool.h
const GET_COALESCING: u32 = 0x0e;
const GET_RINGS: u32 = 0x10;
const GET_PAUSE: u32 = 0x12;
const GET_PRIVATE_FLAGS: u32 = 0x27;
const GET_RULE_COUNT: u32 = 0x2e;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
/// More blocks of 32 features than any kernel has.
const FEATURE_BLOCKS: usize = 8;
/// Words of `struct ethtool_rxnfc`, and the place of its `rule_cnt`.
const RULES: (usize, usize) = (48, 46);

/// Reads all settings by a function that sends a command with a buffer of so many words.
pub(super) fn read(
    mut ask: impl FnMut(u32, usize) -> io::Result<Option<Vec<u32>>>,
) -> io::Result<EthtoolSettings> {
    // The first word is the command.
    let mut plain = |command, words| {
        let answer = ask(command, words)?;
        Ok::<_, io::Error>(answer.map(|words| words.into_iter().skip(1).collect()))
    };
    Ok(EthtoolSettings {
        private_flags: plain(GET_PRIVATE_FLAGS, 2)?,
        channels: plain(GET_CHANNELS, 9)?,
        rings: plain(GET_RINGS, 9)?,
        coalescing: plain(GET_COALESCING, 23)?,
        pause: plain(GET_PAUSE, 4)?,
        rules: plain(GET_RULE_COUNT, RULES.0)?
            .map(|words: Vec<u32>| words.into_iter().skip(RULES.1 - 1).take(1).collect()),
        features: ask(GET_FEATURES, 2 + 4 * FEATURE_BLOCKS)?.map(|words| requested(&words)),
    })
}

/// The requested features of `struct ethtool_gfeatures`; the active ones follow from them and from the driver.
fn requested(words: &[u32]) -> Vec<u32> {
    let blocks = words.get(1).copied().unwrap_or_default();
    let blocks = usize::try_from(blocks).unwrap_or_default();
    let requested = words.iter().skip(2 + 1).step_by(4);
    requested.take(blocks).copied().collect()
}

impl EthtoolSettings {
    /// All that is not as expected; what was or is absent is not compared.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let Self {
            features,
            private_flags,
            channels,
            rings,
            coalescing,
            pause,
            rules,
        } = self;
        let pairs = [
            ("features", features, &found.features),
            ("private flags", private_flags, &found.private_flags),
            ("channels", channels, &found.channels),
            ("rings", rings, &found.rings),
            ("coalescing", coalescing, &found.coalescing),
            ("pause", pause, &found.pause),
            ("receive rules", rules, &found.rules),
        ];
        let differing = pairs.into_iter().filter_map(|(property, expected, found)| {
            let (expected, found) = (expected.as_ref()?, found.as_ref()?);
            let text = |words: &[u32]| {
                let words: Vec<String> = words.iter().map(|word| format!("{word:x}")).collect();
                words.join(" ")
            };
            (expected != found)
                .then(|| Difference::without_remedy(property, text(found), text(expected)))
        });
        differing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_each_command_are_taken_from_their_place() {
        let settings = read(|command, words| {
            if command == GET_PAUSE {
                return Ok(None);
            }
            let mut answer: Vec<u32> = (0..).take(words).collect();
            if command == GET_FEATURES {
                answer[1] = 2;
            }
            Ok(Some(answer))
        })
        .unwrap();
        assert_eq!(settings.features, Some(vec![3, 7]));
        assert_eq!(settings.private_flags, Some(vec![1]));
        assert_eq!(settings.channels, Some((1..9).collect()));
        assert_eq!(settings.rules, Some(vec![46]));
        assert_eq!(settings.pause, None);
    }

    #[test]
    fn only_settings_that_both_have_are_compared() {
        let expected = EthtoolSettings {
            features: Some(vec![0xff]),
            private_flags: Some(vec![0]),
            ..EthtoolSettings::default()
        };
        let mut found = expected.clone();
        assert_eq!(expected.differences(&found), []);
        found.rules = Some(vec![3]);
        found.private_flags = None;
        found.features = Some(vec![0x1f]);
        let differences = expected.differences(&found);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].to_string(), "features is 1f, expected ff");
    }
}
