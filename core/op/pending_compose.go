package op

func composeQuantise(b *Builder, n *Node)           {}
func composeDequantise(b *Builder, n *Node)         {}
func composeLinear(b *Builder, n *Node)             {}
func composeLinearGradInput(b *Builder, n *Node)    {}
func composeLinearGradWeight(b *Builder, n *Node)   {}
func composeLinearGradAdapter(b *Builder, n *Node)  {}
func composeRMSNorm(b *Builder, n *Node)            {}
func composeRMSNormGrad(b *Builder, n *Node)        {}
func composeRoPE(b *Builder, n *Node)               {}
func composeSwiGLU(b *Builder, n *Node)             {}
func composeSwiGLUGrad(b *Builder, n *Node)         {}
func composeAttention(b *Builder, n *Node)          {}
func composeAttentionGrad(b *Builder, n *Node)      {}
func composeLinearCrossEntropy(b *Builder, n *Node) {}
func composeDropoutMask(b *Builder, n *Node)        {}
func composeAdamW(b *Builder, n *Node)              {}
func composeGlobalNorm(b *Builder, n *Node)         {}
func composeGuard(b *Builder, n *Node)              {}
