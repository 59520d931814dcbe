// Package api is the front doors of a node: gRPC and HTTP over one limiter.
//
// A door decodes a request, has [limiter.Limiter] decide it and encodes the verdict;
// it has no limiter logic of its own. Check, CheckBatch and CheckStream go through a
// hand-written codec, which walks a message once and whose attributes are views of it;
// everything else is generated code.
//
// # Concurrency
//
// [GRPC] and [HTTP] are safe for concurrent use. Serve blocks until Shutdown, which ends
// every goroutine that the door started and waits for it. Every message, queue and
// call is bounded.
package api
