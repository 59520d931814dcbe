// Package client asks a cluster of weir whether requests may pass.
//
// [Dial] takes the gRPC addresses of one or more nodes. Any node answers for the
// whole cluster, so addresses are alternatives, not shards: a call goes to the node
// that answered last and, where that one cannot be reached or says UNAVAILABLE, to
// the next, each address once, all within the caller's deadline.
//
// [Client.Check] returns the [Verdict] on one request, [Client.Allow] only its yes or
// no, [Client.CheckBatch] many verdicts for one round trip. [Middleware] puts an
// http.Handler behind a limit. A denied request is a verdict, never an error; an
// error means that nobody said anything about the request.
//
// # At most once, or at least once
//
// A node that breaks off in the middle of a call may have counted it before it broke,
// and the next node counts it again. The error is on the safe side: a limit never
// admits more for it. A permit of a concurrency limit that got lost in that way frees
// itself after the limit's ttl.
//
// # Concurrency
//
// A [Client] is safe for concurrent use, starts no goroutine beside those of its
// connections and is done with them when [Client.Close] returns. The time comes from
// the runtime; a test under testing/synctest sees its fake clock.
package client
