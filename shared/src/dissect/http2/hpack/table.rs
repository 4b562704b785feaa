//! The tables of header fields (RFC 7541, section 2.3): the static one, which everybody has, and
//! the dynamic one, which the sender fills.

use std::{collections::VecDeque, sync::Arc};

/// What an entry counts for beyond its name and value, in bytes (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;

/// The static table (RFC 7541, appendix A); indices begin with 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A name and a value. Names and values are the peer's bytes, whatever they are.
pub type Entry = (Arc<[u8]>, Arc<[u8]>);

/// Both tables under their common indices.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest entry comes first.
    dynamic: VecDeque<Entry>,
    /// What the dynamic entries count for, in bytes.
    size: usize,
    /// What they may count for.
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            dynamic: VecDeque::new(),
            size: 0,
            limit,
        }
    }

    /// The entry with that index, if there is one.
    pub(super) fn get(&self, index: usize) -> Option<Entry> {
        let place = index.checked_sub(1)?;
        match STATIC.get(place) {
            Some((name, value)) => Some((name.as_bytes().into(), value.as_bytes().into())),
            None => self.dynamic.get(place - STATIC.len()).cloned(),
        }
    }

    /// Adds an entry; older ones make room. One that is larger than the table empties it (RFC
    /// 7541, section 4.4).
    pub(super) fn add(&mut self, entry: Entry) {
        let size = entry_size(&entry);
        self.shrink(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.size += size;
            self.dynamic.push_front(entry);
        }
    }

    /// Changes what the dynamic entries may count for.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    /// What the dynamic entries count for, in bytes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// What the dynamic entries take in memory, in bytes. Two pointers with their lengths, twice
    /// where the queue has room to grow, and two allocations with two counters each come to more
    /// than the 32 bytes that the standard counts for an entry.
    pub(super) fn held(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<Entry>() + 4 * size_of::<usize>() + 2 * 16;
        self.size + self.dynamic.len() * (ENTRY - OVERHEAD)
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.dynamic.pop_back() else {
                break;
            };
            self.size -= entry_size(&oldest);
        }
    }
}

fn entry_size(entry: &Entry) -> usize {
    entry.0.len() + entry.1.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: &str) -> Entry {
        (name.as_bytes().into(), value.as_bytes().into())
    }

    #[test]
    fn static_and_dynamic_entries_share_their_indices() {
        let mut table = Table::new(4_096);
        assert_eq!(table.get(2), Some(entry(":method", "GET")));
        assert_eq!(table.get(61), Some(entry("www-authenticate", "")));
        assert_eq!((table.get(0), table.get(62)), (None, None));
        table.add(entry("a", "1"));
        table.add(entry("b", "2"));
        assert_eq!(table.get(62), Some(entry("b", "2")));
        assert_eq!(table.get(63), Some(entry("a", "1")));
        assert_eq!(table.size(), 68);
    }

    #[test]
    fn old_entries_make_room_and_one_too_large_empties_the_table() {
        let mut table = Table::new(70);
        table.add(entry("a", "1"));
        table.add(entry("b", "2"));
        table.add(entry("c", "3"));
        assert_eq!(
            (table.get(63), table.get(64)),
            (Some(entry("b", "2")), None)
        );
        table.set_limit(40);
        assert_eq!(
            (table.get(62), table.get(63)),
            (Some(entry("c", "3")), None)
        );
        table.add(entry("long", "value"));
        assert_eq!((table.get(62), table.size()), (None, 0));
    }
}
