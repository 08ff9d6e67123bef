//! What several tests of this folder need.

/// A backend that reads as one of its fields does, and commits as it likes.
macro_rules! backend_by_field {
    ($name:ty, $field:ident, |$this:ident, $writes:ident, $sync:ident| $commit:expr) => {
        impl crate::storage::Read for $name {
            fn get(&self, table: crate::storage::TableId, key: &[u8]) -> std::io::Result<Option<crate::storage::Bytes>> {
                self.$field.get(table, key)
            }

            fn range(
                &self,
                table: crate::storage::TableId,
                range: crate::storage::KeyRange<'_>,
            ) -> std::io::Result<crate::storage::Rows<'_>> {
                self.$field.range(table, range)
            }

            fn at(&self, log: crate::storage::LogId, number: u64) -> std::io::Result<Option<crate::storage::Bytes>> {
                self.$field.at(log, number)
            }

            fn entries(
                &self,
                log: crate::storage::LogId,
                numbers: std::ops::RangeInclusive<u64>,
            ) -> std::io::Result<crate::storage::Entries<'_>> {
                self.$field.entries(log, numbers)
            }
        }

        impl crate::storage::Backend for $name {
            fn snapshot(&self) -> std::io::Result<std::sync::Arc<dyn crate::storage::Read>> {
                self.$field.snapshot()
            }

            fn commit(&self, $writes: Vec<crate::storage::Write>, $sync: bool) -> std::io::Result<()> {
                let $this = self;
                $commit
            }
        }
    };
}

pub(crate) use backend_by_field;
