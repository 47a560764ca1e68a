// Package peft reads and writes adapter folders as PEFT does: adapter_config.json and
// adapter_model.safetensors. It knows their names and layouts; it never follows the path of
// the base model, and what a module is in a network belongs to the models.
package peft
