// Package quantised reads weights that other programs stored quantised: bitsandbytes' 4-bit
// and row-wise int8 weights, HQQ's safetensors and MLX's affine weights. Each becomes the
// operands of a weight at the border between trainer and its backends, whose codes are laid
// out anew where a file has another order. What a weight is for belongs to the models.
package quantised
