package cluster

import "github.com/weir-io/weir/bucket"

// An Item is the charges of one request: taken all or none, wherever their
// buckets lie.
type Item struct {
	First, End int32 // its charges are Batch.Charges[First:End]
	Peek       bool  // say whether they fit, take nothing

	Allowed bool  // set by Decide: every enforcing charge fits
	Err     error // set by Decide: ErrShed, ErrStarting, ErrTooMany or a context error; nothing was decided
}

// A Batch is items to decide together. Its slices are the caller's and are reused;
// Statuses must be as long as Charges.
type Batch struct {
	Items    []Item
	Charges  []bucket.Charge
	Statuses []bucket.Status
}
