package broker

import (
	"context"
	"errors"

	"github.com/posternhq/postern/broker/api"
)

// Apply writes the resources of a YAML file, replacing what exists.
func (b *Broker) Apply(ctx context.Context, by string, yaml []byte) ([]api.ResourceResult, error) {
	return nil, errors.New("not yet")
}

func (b *Broker) postResources(c *call) (any, error)  { return nil, errors.New("not yet") }
func (b *Broker) getResources(c *call) (any, error)   { return nil, errors.New("not yet") }
func (b *Broker) getResource(c *call) (any, error)    { return nil, errors.New("not yet") }
func (b *Broker) deleteResource(c *call) (any, error) { return nil, errors.New("not yet") }
