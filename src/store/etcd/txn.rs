//! Batches as transactions of etcd: fenced, and cut to what etcd takes.

use bytes::Bytes;

use super::messages::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp,
    ResponseOp, Target, TxnRequest, TxnResponse, compare, request_op, response_op,
};

/// etcd takes 128 operations on one level (`--max-txn-ops`), and gives each transaction inside another
/// the rest of that again.
const FLAT_MAX: usize = 120;
const NESTED: usize = 64;
/// So many operations are one transaction at most.
pub(super) const OPERATIONS_MAX: usize = NESTED * NESTED;

pub(super) fn put(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    op(request_op::Request::Put(PutRequest { key, value, lease }))
}

pub(super) fn delete_range((key, range_end): (Bytes, Bytes)) -> RequestOp {
    op(request_op::Request::DeleteRange(DeleteRangeRequest { key, range_end }))
}

pub(super) fn delete(key: Bytes) -> RequestOp {
    delete_range((key, Bytes::new()))
}

pub(super) fn get(key: Bytes) -> RequestOp {
    op(request_op::Request::Range(RangeRequest { key, ..RangeRequest::default() }))
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The key has come to be at this revision; 0: it is not there.
pub(super) fn created_at(key: Bytes, revision: i64) -> Compare {
    let union = Some(compare::Union::CreateRevision(revision));
    Compare { result: 0, target: Target::Create.into(), key, union }
}

/// The key was put last at this revision; 0: it is not there.
pub(super) fn put_at(key: Bytes, revision: i64) -> Compare {
    let union = Some(compare::Union::ModRevision(revision));
    Compare { result: 0, target: Target::Mod.into(), key, union }
}

/// Operations as a transaction takes them: those that are too many for one level lie in others inside.
pub(super) fn nested(operations: Vec<RequestOp>) -> Vec<RequestOp> {
    if operations.len() <= FLAT_MAX {
        return operations;
    }
    let inside = |operations: &[RequestOp]| {
        op(request_op::Request::Txn(TxnRequest {
            success: operations.to_vec(),
            ..TxnRequest::default()
        }))
    };
    operations.chunks(NESTED).map(inside).collect()
}

/// The keys that the operation at this place of an answer has read.
pub(super) fn read(answer: &TxnResponse, at: usize) -> Option<&KeyValue> {
    match answer.responses.get(at)? {
        ResponseOp { response: Some(response_op::Response::Range(RangeResponse { kvs, .. })) } => {
            kvs.first()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depths(operations: &[RequestOp]) -> (usize, usize) {
        let inside = operations.iter().filter_map(|op| match &op.request {
            Some(request_op::Request::Txn(txn)) => Some(txn.success.len()),
            _ => None,
        });
        (operations.len(), inside.sum())
    }

    #[test]
    fn many_operations_lie_in_transactions_of_64() {
        let ops = |count: usize| nested(vec![delete(Bytes::from_static(b"x")); count]);
        assert_eq!(depths(&ops(120)), (120, 0));
        assert_eq!(depths(&ops(121)), (2, 121));
        assert_eq!(depths(&ops(OPERATIONS_MAX)), (64, OPERATIONS_MAX));
    }
}
