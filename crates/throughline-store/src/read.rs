//! Reading one block: candidates by their terms, stored documents, names from the dictionary. Owns the only code that
//! touches segments; refuses to decide whether a candidate matches.

use std::collections::{BTreeSet, HashSet};

use tantivy::columnar::Column;
use tantivy::postings::SegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, SegmentReader, TERMINATED, TantivyError, Term};
use throughline_otlp::{Signal, TraceId};

use crate::block::{View, block_error};
use crate::document::Stored;
use crate::error::StoreError;
use crate::query::Query;
use crate::schema::{self, Terms, kind_of_byte, tag};
use crate::search::Operation;

/// A document that has every term of a query, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) time: u64,
    pub(crate) address: DocAddress,
}

impl View {
    /// Calls `each` for every candidate, in no particular order.
    pub(crate) fn candidates(
        &self,
        query: &Query,
        mut each: impl FnMut(Candidate),
    ) -> Result<(), StoreError> {
        if query.is_contradiction()
            || !self.summary.times.is_some_and(|times| query.overlaps(times.earliest, times.latest))
        {
            return Ok(());
        }
        let terms = query.terms();
        for (segment, reader) in (0..).zip(self.searcher.segment_readers()) {
            segment_candidates(reader, query, &terms, |doc_id, time| {
                each(Candidate { time, address: DocAddress { segment_ord: segment, doc_id } });
            })
            .map_err(block_error("search", &self.block.path))?;
        }
        Ok(())
    }

    /// The OTLP bytes of a document.
    pub(crate) fn otlp(&self, address: DocAddress) -> Result<Vec<u8>, StoreError> {
        let Stored(otlp) =
            self.searcher.doc(address).map_err(block_error("read a document of", &self.block.path))?;
        Ok(otlp)
    }

    /// Whether any document belongs to the trace. The term is the whole id, so nothing needs to be verified.
    pub(crate) fn has_trace(&self, signal: Signal, id: TraceId) -> Result<bool, StoreError> {
        let terms = Query::trace(signal, id).terms();
        for reader in self.searcher.segment_readers() {
            let found = postings(reader, &terms).map_err(block_error("search", &self.block.path))?;
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds the services of all spans.
    pub(crate) fn services(&self, services: &mut BTreeSet<String>) -> Result<(), StoreError> {
        self.operation_terms(&[tag(Signal::Traces)], |service, _, _| {
            if !services.contains(service) {
                services.insert(service.to_owned());
            }
        })
    }

    /// Adds the operations of a service, or of all.
    pub(crate) fn operations(
        &self,
        service: Option<&str>,
        operations: &mut HashSet<Operation>,
    ) -> Result<(), StoreError> {
        let mut prefix = vec![tag(Signal::Traces)];
        prefix.extend(service.map(schema::service_prefix).unwrap_or_default());
        self.operation_terms(&prefix, |_, kind, name| {
            operations.insert(Operation { name: name.to_owned(), kind: kind_of_byte(kind) });
        })
    }

    fn operation_terms(&self, prefix: &[u8], mut each: impl FnMut(&str, u8, &str)) -> Result<(), StoreError> {
        let mut read = |reader: &SegmentReader| -> Result<(), TantivyError> {
            let index = reader.inverted_index(schema::Column::Operation.field())?;
            let mut terms = index.terms().range().ge(prefix).into_stream()?;
            while let Some((term, _)) = terms.next() {
                if !term.starts_with(prefix) {
                    break;
                }
                if let Some((service, kind, name)) = schema::parse_operation(term) {
                    each(service, kind, name);
                }
            }
            Ok(())
        };
        let error = block_error("list the operations of", &self.block.path);
        self.searcher.segment_readers().iter().try_for_each(|reader| read(reader).map_err(&error))
    }
}

fn segment_candidates(
    reader: &SegmentReader,
    query: &Query,
    terms: &Terms,
    mut each: impl FnMut(u32, u64),
) -> Result<(), TantivyError> {
    let Some(mut postings) = postings(reader, terms)? else { return Ok(()) };
    let columns = Columns::open(reader)?;
    let mut next = 0;
    while let Some(doc) = next_common(&mut postings, next).filter(|doc| *doc < reader.max_doc()) {
        next = doc + 1;
        if let Some(time) = columns.time_if_candidate(doc, query) {
            each(doc, time);
        }
    }
    Ok(())
}

struct Columns {
    time: Column<u64>,
    duration: Column<u64>,
    span: Column<u64>,
    parent: Column<u64>,
}

impl Columns {
    fn open(reader: &SegmentReader) -> Result<Self, TantivyError> {
        let column = |field: schema::Column| reader.fast_fields().u64(field.name());
        Ok(Self {
            time: column(schema::Column::Time)?,
            duration: column(schema::Column::Duration)?,
            span: column(schema::Column::Span)?,
            parent: column(schema::Column::Parent)?,
        })
    }

    /// The document's time, unless a column rules it out.
    fn time_if_candidate(&self, doc: u32, query: &Query) -> Option<u64> {
        let time = self.time.first(doc)?;
        let duration = self.duration.first(doc);
        query.admits(time, duration, || self.span.first(doc), || self.parent.first(doc)).then_some(time)
    }
}

/// The posting lists of all terms, shortest first; `None` if the segment lacks a term.
fn postings(reader: &SegmentReader, terms: &Terms) -> Result<Option<Vec<SegmentPostings>>, TantivyError> {
    let mut lists = Vec::with_capacity(terms.len());
    for (column, term) in terms.iter() {
        let index = reader.inverted_index(column.field())?;
        match index.read_postings(&Term::from_field_bytes(column.field(), term), IndexRecordOption::Basic)? {
            Some(list) => lists.push(list),
            None => return Ok(None),
        }
    }
    lists.sort_by_key(DocSet::size_hint);
    Ok(Some(lists))
}

/// The first document at or after `from` that is in every list (any, if there is no list). Lists only move forward.
fn next_common(lists: &mut [SegmentPostings], from: u32) -> Option<u32> {
    let mut target = from;
    'again: loop {
        for list in lists.iter_mut() {
            let doc = if list.doc() < target { list.seek(target) } else { list.doc() };
            if doc == TERMINATED {
                return None;
            }
            if doc > target {
                target = doc;
                continue 'again;
            }
        }
        return Some(target);
    }
}
