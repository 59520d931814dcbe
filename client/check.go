package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// Check returns the verdict on one request. An error wraps [ErrNoNode] when no node
// answered by the deadline; all others carry a gRPC status (see status.Code), of which
// INVALID_ARGUMENT says that the request itself was wrong.
func (c *Client) Check(ctx context.Context, r Request) (Verdict, error) {
	if err := r.malformed(); err != nil {
		return Verdict{}, fmt.Errorf("check: %w", err)
	}
	var resp *weirv1.CheckResponse
	err := c.do(ctx, "check", func(ctx context.Context, l weirv1.LimiterClient) (err error) {
		resp, err = l.Check(ctx, r.proto())
		return err
	})
	if err != nil {
		return Verdict{}, err
	}
	v := verdict(resp)
	if v.Err != nil {
		return Verdict{}, fmt.Errorf("check: %w", v.Err)
	}
	return v, nil
}

// Allow reports whether a request of one hit may pass, and counts it if so. It is not
// meant for leaky buckets, whose verdict says how long to wait, nor for concurrency
// limits, whose permits it would leave to their ttl: use [Client.Check] there.
func (c *Client) Allow(ctx context.Context, domain string, attributes ...Attribute) (bool, error) {
	v, err := c.Check(ctx, Request{Domain: domain, Attributes: attributes})
	return v.Allowed, err
}

// CheckBatch returns the verdicts on up to 10,000 requests, in their order. Each is
// decided for itself: what was wrong with one stands in its verdict's Err.
func (c *Client) CheckBatch(ctx context.Context, requests []Request) ([]Verdict, error) {
	verdicts := make([]Verdict, len(requests))
	batch := &weirv1.CheckBatchRequest{Requests: make([]*weirv1.CheckRequest, 0, len(requests))}
	places := make([]int, 0, len(requests)) // of the requests of batch
	for i := range requests {
		if err := requests[i].malformed(); err != nil {
			verdicts[i].Err = err
			continue
		}
		batch.Requests, places = append(batch.Requests, requests[i].proto()), append(places, i)
	}
	if len(places) == 0 {
		return verdicts, nil
	}
	err := c.do(ctx, "check a batch", func(ctx context.Context, l weirv1.LimiterClient) error {
		resp, err := l.CheckBatch(ctx, batch)
		if err != nil {
			return err
		}
		if got := len(resp.GetResponses()); got != len(places) {
			return status.Errorf(codes.Internal, "%d verdicts for %d requests", got, len(places))
		}
		for i, r := range resp.GetResponses() {
			verdicts[places[i]] = verdict(r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

// Release gives permits of concurrency limits back and returns how many of them were
// still held; the others had reached their ttl or were released before.
func (c *Client) Release(ctx context.Context, permits ...Permit) (int, error) {
	if len(permits) == 0 {
		return 0, nil
	}
	req := &weirv1.ReleaseRequest{Permits: make([][]byte, len(permits))}
	for i, p := range permits {
		req.Permits[i] = p
	}
	var released int
	err := c.do(ctx, "release", func(ctx context.Context, l weirv1.LimiterClient) error {
		resp, err := l.Release(ctx, req)
		released = int(resp.GetReleased())
		return err
	})
	return released, err
}
