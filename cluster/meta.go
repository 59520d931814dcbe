package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/weir-io/weir/ring"
)

// A neighbour is a node as gossip tells of it. Gossip is hearsay: nothing here
// routes, counts or proves anything.
type neighbour struct {
	ring.Member        // State unused
	Durable     bool   // keeps a data dir, may vote
	Fresh       bool   // holds no state of any log
	Expect      int    // nodes it wants to found a cluster with
	ClusterID   string // "" = none yet
	Founders    uint64 // hash of the list it would found a cluster with; 0 = none
	Round       uint32 // how often it has taken back what it proposed as Founders
}

// What gossip carries of a node: id and boot are its name there, the rest is meta.
const (
	maxMeta       = 512 // memberlist panics above
	maxNodeID     = 64
	maxClusterID  = 64
	metaLayout    = 1 // later versions append to the layout; another one is another language
	metaDurable   = 1 << 0
	metaFresh     = 1 << 1
	metaGRPCHost  = 1 << 2 // the host of GRPCAddr is not PeerAddr's and is spelled out
	metaHTTPHost  = 1 << 3
	gossipNameSep = "#"
)

var errMeta = errors.New("gossip meta is malformed")

// gossipName names one process of one node.
func gossipName(id string, boot uint64) string {
	return id + gossipNameSep + strconv.FormatUint(boot, 10)
}

// parseGossipName undoes gossipName.
func parseGossipName(name string) (id string, boot uint64, err error) {
	id, number, ok := strings.Cut(name, gossipNameSep)
	if !ok || id == "" || len(id) > maxNodeID {
		return "", 0, fmt.Errorf("gossip name %.80q is not id#boot", name)
	}
	if boot, err = strconv.ParseUint(number, 10, 64); err != nil {
		return "", 0, fmt.Errorf("gossip name %.80q: boot: %w", name, err)
	}
	return id, boot, nil
}

// encodeMeta writes what gossip carries beside the name. Hosts that repeat are
// written once, since three full ones might not fit.
func encodeMeta(n *neighbour) ([]byte, error) {
	if len(n.ClusterID) > maxClusterID {
		return nil, fmt.Errorf("a cluster id has at most %d bytes, not %d", maxClusterID, len(n.ClusterID))
	}
	peerHost, peerPort := splitAddr(n.PeerAddr)
	grpcHost, grpcPort := splitAddr(n.GRPCAddr)
	httpHost, httpPort := splitAddr(n.HTTPAddr)
	var flags byte
	set := func(flag byte, on bool) {
		if on {
			flags |= flag
		}
	}
	set(metaDurable, n.Durable)
	set(metaFresh, n.Fresh)
	set(metaGRPCHost, grpcHost != peerHost)
	set(metaHTTPHost, httpHost != peerHost)
	b := []byte{metaLayout, flags}
	b = binary.AppendUvarint(b, uint64(max(n.Expect, 0)))
	b = binary.BigEndian.AppendUint64(b, n.Founders)
	b = binary.AppendUvarint(b, uint64(n.Round))
	b = appendText(b, n.ClusterID)
	b = appendText(b, n.Zone)
	b = appendText(b, peerHost)
	b = appendText(b, peerPort)
	b = appendText(b, grpcPort)
	b = appendText(b, httpPort)
	if flags&metaGRPCHost != 0 {
		b = appendText(b, grpcHost)
	}
	if flags&metaHTTPHost != 0 {
		b = appendText(b, httpHost)
	}
	if len(b) > maxMeta {
		return nil, fmt.Errorf("zone %q and addresses %q, %q, %q take %d bytes of gossip, at most %d fit: give shorter ones", n.Zone, n.PeerAddr, n.GRPCAddr, n.HTTPAddr, len(b), maxMeta)
	}
	return b, nil
}

// decodeMeta reads what encodeMeta wrote, here or in a later version.
func decodeMeta(b []byte) (neighbour, error) {
	var n neighbour
	if len(b) > maxMeta || len(b) < 2 || b[0] != metaLayout {
		return neighbour{}, errMeta
	}
	flags := b[1]
	n.Durable, n.Fresh = flags&metaDurable != 0, flags&metaFresh != 0
	r := metaReader{rest: b[2:]}
	expect := r.number()
	n.Founders = r.fixed()
	round := r.number()
	n.ClusterID = r.text()
	n.Zone = r.text()
	peerHost, peerPort, grpcPort, httpPort := r.text(), r.text(), r.text(), r.text()
	grpcHost, httpHost := peerHost, peerHost
	if flags&metaGRPCHost != 0 {
		grpcHost = r.text()
	}
	if flags&metaHTTPHost != 0 {
		httpHost = r.text()
	}
	if r.bad || expect > 1<<20 || round > 1<<32-1 || len(n.ClusterID) > maxClusterID {
		return neighbour{}, errMeta
	}
	n.Expect, n.Round = int(expect), uint32(round)
	n.PeerAddr, n.GRPCAddr, n.HTTPAddr = joinAddr(peerHost, peerPort), joinAddr(grpcHost, grpcPort), joinAddr(httpHost, httpPort)
	return n, nil
}

// splitAddr splits host:port; what is not one is kept whole as a host.
func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || joinAddr(host, port) != addr {
		return addr, ""
	}
	return host, port
}

func joinAddr(host, port string) string {
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A metaReader reads fields one after the other; once one is missing, all are.
type metaReader struct {
	rest []byte
	bad  bool
}

func (r *metaReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *metaReader) fixed() uint64 {
	if len(r.rest) < 8 {
		r.bad, r.rest = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}

func (r *metaReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
