package bucket

// Config sizes a Store.
type Config struct {
	// Memory bounds the bytes of all buckets, logs and permits together.
	Memory int64
	// Seed makes receipts of this store differ from another's.
	Seed uint64
}

// A Store keeps buckets in 1024 partitions.
type Store struct{}

// NewStore returns an empty store.
func NewStore(cfg Config) *Store { panic("unwritten") }

// Take decides charges together: all enforcing ones are taken or none, and
// reports whether they were. statuses[i] says what charges[i] met. Shadow charges are
// taken, each for itself, only where the enforcing ones were. It does not allocate
// while the buckets exist.
func (s *Store) Take(now int64, charges []Charge, statuses []Status) bool { panic("unwritten") }

// Peek is Take without taking anything.
func (s *Store) Peek(now int64, charges []Charge, statuses []Status) bool { panic("unwritten") }

// Refund gives back what a Take of c took, named by its receipt. It reports
// whether there was something to give back; a second refund is not.
func (s *Store) Refund(now int64, c *Charge, receipt uint64) bool { panic("unwritten") }

// Release frees the permits a Take took and returns how many; 0 when they had
// expired or were released before. c names the bucket; its Limit is not looked at.
func (s *Store) Release(now int64, c *Charge, receipt uint64) int64 { panic("unwritten") }

// Reset returns a bucket to the state of a fresh key and raises its generation, so
// that nothing taken before can be refunded.
func (s *Store) Reset(now int64, c *Charge) { panic("unwritten") }

// Clear empties a partition.
func (s *Store) Clear(partition int) { panic("unwritten") }

// Usage is how much a Store holds.
type Usage struct {
	Buckets int64
	Bytes   int64
	Rules   int64
}

// Usage returns how much the store holds now.
func (s *Store) Usage() Usage { panic("unwritten") }

// Part returns the limit whose admissions are right of l's Most: windows, logs and
// permits count to right; buckets have burst right at rate × right ÷ burst.
func (l Limit) Part(right int64) Limit { panic("unwritten") }

// Most returns the most that can be had of l at once: burst, count or permits.
func (l Limit) Most() int64 { panic("unwritten") }

// Validate reports what is wrong with the numbers of l, nil when they can be
// decided by.
func (l Limit) Validate() error { panic("unwritten") }
