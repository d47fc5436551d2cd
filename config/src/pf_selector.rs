//! The grammar of `pfNames` and `rootDevices`: a PF, optionally with a list of its VFs.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A PF with the VF indices that it selects: `pf0`, `pf0#2`, `pf0#0-3,7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PfSelector<T> {
    /// The PF, by name or by PCI address.
    pub pf: T,
    ranges: Option<Vec<(u32, u32)>>,
}

impl<T> PfSelector<T> {
    /// Whether the VF (or subfunction) with this index is selected; a PF without a list selects all of its VFs.
    pub fn contains(&self, index: Option<u32>) -> bool {
        match (&self.ranges, index) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ranges), Some(index)) => ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&index)),
        }
    }

    /// Whether a list of VFs is given.
    pub fn has_list(&self) -> bool {
        self.ranges.is_some()
    }
}

impl<T: Display> Display for PfSelector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pf)?;
        for (position, (first, last)) in self.ranges.iter().flatten().enumerate() {
            let separator = if position == 0 { '#' } else { ',' };
            write!(f, "{separator}{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// A text that is not a PF selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a PF selector: {rule}")]
pub struct InvalidPfSelector {
    text: String,
    rule: String,
}

impl<T: FromStr<Err: Display>> FromStr for PfSelector<T> {
    type Err = InvalidPfSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |rule: String| InvalidPfSelector {
            text: text.to_owned(),
            rule,
        };
        let (pf, list) = text
            .split_once('#')
            .map_or((text, None), |(pf, list)| (pf, Some(list)));
        if pf.trim().is_empty() {
            return Err(invalid("expected a PF before `#`".to_owned()));
        }
        let pf = pf
            .trim()
            .parse()
            .map_err(|error: T::Err| invalid(error.to_string()))?;
        let ranges = list
            .map(|list| list.split(',').map(range).collect::<Result<Vec<_>, _>>())
            .transpose()
            .map_err(invalid)?;
        Ok(Self { pf, ranges })
    }
}

fn range(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| {
        let text = text.trim();
        text.parse::<u32>()
            .map_err(|_not_a_number| format!("expected VF numbers like `0-3,7`, found `{text}`"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("the range `{}` is reversed", text.trim()));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Vec<u32> {
        let selector: PfSelector<String> = text.parse().unwrap();
        (0..10)
            .filter(|index| selector.contains(Some(*index)))
            .collect()
    }

    #[test]
    fn lists_and_ranges() {
        for (text, indices) in [
            ("pf0", (0..10).collect::<Vec<_>>()),
            ("pf0#2", vec![2]),
            ("pf0#0-3,7", vec![0, 1, 2, 3, 7]),
            ("pf0# 0 , 2 - 4", vec![0, 2, 3, 4]),
        ] {
            assert_eq!(meant(text), indices, "{text}");
            let said = text.parse::<PfSelector<String>>().unwrap().to_string();
            assert_eq!(said, text.replace(' ', ""));
        }
    }

    #[test]
    fn invalid_selector_is_refused() {
        for text in [
            "",
            "#0",
            "pf0#",
            "pf0#a",
            "pf0#3-1",
            "pf0#1-2-3",
            "pf0#-1",
            "pf0#0,",
        ] {
            assert!(text.parse::<PfSelector<String>>().is_err(), "{text}");
        }
    }

    #[test]
    fn device_without_index_is_in_no_list() {
        assert!(
            !"pf0#0"
                .parse::<PfSelector<String>>()
                .unwrap()
                .contains(None)
        );
        assert!("pf0".parse::<PfSelector<String>>().unwrap().contains(None));
    }
}
