package v1

import (
	"context"
)

// GetHealth is GET /healthz.
func (s *server) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Ok: true}, nil
}

// GetReady is GET /readyz.
func (s *server) GetReady(ctx context.Context, _ GetReadyRequestObject) (GetReadyResponseObject, error) {
	ok, components := s.Health.Ready(ctx)
	r := Ready{Ok: ok, Components: list(components)}
	if !ok {
		return GetReady503JSONResponse(r), nil
	}
	return GetReady200JSONResponse(r), nil
}
