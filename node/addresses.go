package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// Addresses are where a node's listeners are bound, each as host:port.
type Addresses struct {
	GRPC, Peer, HTTP, Gossip string
}

// listen binds a front door and, where it cannot, names the flag to change.
func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, taken(flag, addr, err)
	}
	return l, nil
}

// taken says which flag to change where an address cannot be bound.
func taken(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--%s: %s is taken by another process: stop it or give another address", flag, addr)
	}
	return fmt.Errorf("--%s: listen on %s: %w", flag, addr, err)
}

// advertised returns the host that others dial for a bound one: the one that was
// set, the bound one, or the first private address of the machine where all are
// bound.
func advertised(set, bound string) (string, error) {
	if set != "" {
		return set, nil
	}
	host, _, err := net.SplitHostPort(bound)
	if err != nil {
		return "", fmt.Errorf("bound address %q: %w", bound, err)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return host, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("find the address that others dial: %w: give --advertise", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsPrivate() && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "", fmt.Errorf("%s binds every address and none of them is private: give --advertise with the host that others dial", bound)
}

// dialled returns host:port that others dial for a listener.
func dialled(host, bound string) string {
	_, port, err := net.SplitHostPort(bound)
	if err != nil {
		return bound
	}
	return net.JoinHostPort(host, port)
}

// hostID makes a node id of the host name.
func hostID() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name the node after its host: %w: give --node-id", err)
	}
	name = strings.ReplaceAll(name, "#", "-")
	if err := validID(name); err != nil || name == "" {
		return "", fmt.Errorf("the host name %q cannot be a node id: give --node-id", name)
	}
	return name, nil
}
