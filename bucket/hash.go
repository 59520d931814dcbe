package bucket

// Partitions is the number of slices the key space has, for the life of a cluster.
const Partitions = 1024

// A Hash is 128 bits that name a key, or, combined with a limit's own hash by
// [Hash.Xor], one bucket.
type Hash struct{ Hi, Lo uint64 }

// Partition returns the partition of a key, in [0, Partitions).
func (h Hash) Partition() int { return int(h.Lo % Partitions) }

// Xor combines two hashes.
func (h Hash) Xor(o Hash) Hash { return Hash{h.Hi ^ o.Hi, h.Lo ^ o.Lo} }
