/** How a network is built and trained. Anything but the usual recipe is for comparisons. */
export interface Recipe {
  /** units of the hidden layers */
  readonly hidden: readonly number[];
  /** squared error of log1p counts, or the Poisson deviance of counts (which collapses on bursts) */
  readonly loss: 'squared' | 'poisson';
  /** whether the network may not see a column; what it corrects stays as it is */
  readonly hides: (column: string) => boolean;
  /** passes over the training rows */
  readonly epochs: number;
}

export const usualRecipe: Recipe = { hidden: [16, 8], loss: 'squared', hides: () => false, epochs: 6 };
