package ring

// Place returns the table that placement wants for members: rows on those that are
// up, by consistent hashing over the sorted list, nothing else. prev gives rows that
// keep their owner their Since; a new owner's is 0, which the log replaces by the
// epoch of the change. Epoch of the result is 0.
func Place(prev *Table, members []Member) *Table { panic("unwritten") }

// SettingsHash tells two nodes whether they would place alike.
func SettingsHash() uint64 { panic("unwritten") }

// Right returns the share of a limit that the member at place has of members, for
// the key whose hash's upper half is hi: all shares sum to limit.
func Right(members, place int, hi uint64, limit int64) int64 { panic("unwritten") }

// Find returns the place of a member by id, or -1.
func (t *Table) Find(id string) int { panic("unwritten") }

// Owner returns the owner of a partition, nil when it has none.
func (t *Table) Owner(partition int) *Member { panic("unwritten") }
