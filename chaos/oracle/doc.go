// Package oracle judges what a rate limiter did, from the outside.
//
// A load client writes down an [Event] for every decision: when it sent the request,
// when the answer came back, and what the answer was. [Judge] compares the events with
// what an exact limiter of the same numbers could have done and reports false denies,
// false allows and how far the admitted total lies from the exact answer.
//
// # What can be known
//
// A client does not see when a decision was made, only that it was made between
// sending and receiving. So every statement holds for all moments in between: a deny is
// false only when the hits fitted at every one of them even if every admission that
// may have come before had come before; an allow is false only when they fitted at
// none, counting only what certainly came before. Each decision is judged against what
// was admitted in fact, so that one error does not make its followers look wrong.
//
// The exact answer is an [Interval]: the admissions that a limiter without fault could
// have reached on this very load. Where requests are well apart from the edges of their
// windows both ends are the same number.
//
// # Independence
//
// The package imports nothing of weir and shares none of its arithmetic: windows are
// found by the calendar or by counting periods, buckets are fed with floating point
// numbers whose error is far below the skew allowed for. It does no I/O, reads no
// clock and starts no goroutine.
package oracle
