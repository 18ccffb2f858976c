//! Which registered name looks most like one that is not: a letter wrong, or a part of it missing.

use super::super::facts::Facts;
use super::{Asked, Meant, meant, meant_entry};

/// The service or ServiceEntry whose name is nearest, if any is near.
pub(super) fn find(host: &str, asked: &Asked<'_>, facts: &Facts) -> Option<Meant> {
    let mut labels = host.splitn(3, '.');
    let (name, namespace) = (labels.next()?, labels.next());
    // `name.namespace` at most: what has more labels and is no service's host is somebody else's.
    let may_be_service = labels.next().is_none_or(|rest| rest == "svc" || rest == facts.service_suffix());
    let wanted = namespace.unwrap_or(asked.namespace);
    let services = facts.services.iter().filter(|_| may_be_service).filter_map(|service| {
        let far = distance(name, &service.name)?;
        let elsewhere = service.namespace != wanted;
        Some(((far, elsewhere, service.cluster != asked.cluster, &service.namespace, &service.name), service))
    });
    if let Some((_, service)) = services.min_by(|a, b| a.0.cmp(&b.0)) {
        return Some(meant(service, facts));
    }
    let entries = facts.service_entries.iter().flat_map(|entry| entry.hosts.iter().map(move |host| (entry, host)));
    let near = entries.filter_map(|(entry, known)| Some((distance(host, known)?, entry, known)));
    near.min_by_key(|(far, entry, host)| (*far, &entry.namespace, &entry.name, *host))
        .map(|(_, entry, host)| meant_entry(entry, Some(host)))
}

/// How far a name is from a registered one; `None`: too far to be meant.
fn distance(asked: &str, registered: &str) -> Option<usize> {
    if is_part(asked, registered) || is_part(registered, asked) {
        return Some(asked.len().abs_diff(registered.len()).min(3));
    }
    let longest = asked.len().max(registered.len());
    let most = (longest / 4).clamp(1, 3);
    if longest < 4 || asked.len().abs_diff(registered.len()) > most {
        return None;
    }
    Some(edits(asked.as_bytes(), registered.as_bytes())).filter(|edits| *edits <= most)
}

/// `was` is a part of `was-service`.
fn is_part(short: &str, long: &str) -> bool {
    let rest = long.strip_prefix(short).and_then(|rest| rest.strip_prefix('-'));
    let head = long.strip_suffix(short).and_then(|head| head.strip_suffix('-'));
    !short.is_empty() && (rest.is_some() || head.is_some())
}

/// Letters to insert, drop, change or swap with their neighbour.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous: Option<u8> = None;
    for (row, letter) in a.iter().enumerate() {
        let mut now = Vec::with_capacity(b.len() + 1);
        now.push(row + 1);
        for (column, other) in b.iter().enumerate() {
            let at = |list: &[usize], place: usize| list.get(place).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&last, column) + usize::from(letter != other);
            let mut least = changed.min(at(&last, column + 1) + 1).min(at(&now, column) + 1);
            let swapped = column > 0 && previous == Some(*other) && b.get(column - 1) == Some(letter);
            if swapped && row > 0 {
                least = least.min(at(&before, column - 1) + 1);
            }
            now.push(least);
        }
        before = std::mem::replace(&mut last, now);
        previous = Some(*letter);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, edits};

    #[test]
    fn letters_are_counted() {
        for (a, b, want) in [("", "", 0), ("was", "was", 0), ("wsa", "was", 1), ("kitten", "sitting", 3), ("", "ab", 2)]
        {
            assert_eq!(edits(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
            assert_eq!(edits(b.as_bytes(), a.as_bytes()), want, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        assert_eq!(distance("was-servcie", "was-service"), Some(1));
        assert!(distance("was", "was-service").is_some());
        assert!(distance("web", "was").is_none(), "three letters tell too little");
        assert!(distance("payments", "orders").is_none());
    }
}
