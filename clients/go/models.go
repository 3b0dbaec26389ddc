package featherwire

import (
	"context"

	featherwirev1 "featherwire.example/go/featherwire/v1"
)

const modelsPerPage = 1000

// Models are all models, which are requested in pages:
//
//	models := client.Models(ctx, nil)
//	for models.Next() {
//		fmt.Println(models.Model().GetId())
//	}
//	err := models.Err()
type Models struct {
	ctx     context.Context
	client  *Client
	request *featherwirev1.ListModelsRequest
	page    []*featherwirev1.Model
	model   *featherwirev1.Model
	isLast  bool
	err     error
}

// Models lists the models for which the filter holds, or all without a filter.
func (client *Client) Models(ctx context.Context, filter *featherwirev1.ModelFilter) *Models {
	request := &featherwirev1.ListModelsRequest{PageSize: modelsPerPage, Filter: filter}
	return &Models{ctx: ctx, client: client, request: request}
}

// Next goes to the next model. It is false at the end and after an error.
func (models *Models) Next() bool {
	for len(models.page) == 0 {
		if models.isLast || models.err != nil {
			return false
		}
		page, err := models.client.Catalogue.ListModels(models.ctx, models.request)
		if err != nil {
			models.err = err
			return false
		}
		models.page = page.GetModels()
		models.request.PageToken = page.GetNextPageToken()
		models.isLast = models.request.PageToken == ""
	}
	models.model, models.page = models.page[0], models.page[1:]
	return true
}

// Model is the model to which Next has gone.
func (models *Models) Model() *featherwirev1.Model {
	return models.model
}

// Err is the error that has ended the list.
func (models *Models) Err() error {
	return models.err
}
