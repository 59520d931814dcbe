// Package limiter decides requests: request → charges → verdict.
//
// A front door fills a [Batch] with requests and calls [Limiter.Check]; the
// limiter finds the policies that apply, has the cluster charge their buckets and
// composes the verdicts. It knows no protocol.
//
// A Limiter is safe for concurrent use; a Batch belongs to one caller at a time
// and is meant to be reused, since all memory a check needs lies in it.
package limiter
