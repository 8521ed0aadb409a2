"""The WFPSampler matrix: what that sample driver does at each layer, done here on real packets, and scored."""
