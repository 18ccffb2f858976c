/** Room between the box of a cluster and what it holds: the layout keeps it free, the scene draws around it. */
export const margin = { side: 22, top: 38, bottom: 22 };
