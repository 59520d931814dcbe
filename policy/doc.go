// Package policy is what operators write: the model of a policy document, its
// strict parser, and the compiled form that finds the limits of a request.
//
// [Parse] reads one document and reports every problem with file, line and
// remedy. [Compile] turns documents into a [Snapshot]: immutable, safe for
// concurrent use, indexed so that 100,000 policies cost what 100 cost.
// [Snapshot.Choose] decides the contest of the groups for one request.
// [Diff] says what changes between two documents.
//
// The package does no I/O, reads no clock and starts no goroutine.
package policy
