package limiter

// A Code classes an Error. The numbers are those of google.rpc.Code.
type Code uint8

const (
	InvalidArgument  Code = 3
	DeadlineExceeded Code = 4
	NotFound         Code = 5
	Internal         Code = 13
	Shed             Code = 14 // UNAVAILABLE: overload, starting or out of reach; safe to retry
)

// An Error says why a request could not be decided: what was wrong, where, and
// what to do.
type Error struct {
	Code    Code
	Message string
	Field   string // the field that was wrong, as "attributes[2].value"; may be empty
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}
